"""`/healthz` and `/readyz`: alive, and able to do the job."""

from http import HTTPStatus

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag

from api.context import context
from api.readiness import OK
from api.schemas.answers import Health, Readiness

blueprint = APIBlueprint("health", __name__, abp_tags=[Tag(name="Health")])


@blueprint.get("/healthz", responses={200: Health})
def alive() -> Response:
    """Answer: this process is alive."""
    return jsonify(Health().model_dump())


@blueprint.get("/readyz", responses={200: Readiness, 503: Readiness})
def ready() -> tuple[Response, int]:
    """Return whether database, Redis and at least one worker are there, each by name."""
    checks = context().readiness.checks()
    is_ready = all(outcome == OK for outcome in checks.values())
    readiness = Readiness(status="ok" if is_ready else "unavailable", checks=checks)
    return jsonify(readiness.model_dump()), HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
