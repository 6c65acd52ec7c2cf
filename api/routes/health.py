"""`/healthz` and `/readyz`: alive, and able to do the job."""

from collections.abc import Callable
from http import HTTPStatus

import structlog
from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from sqlalchemy import select

from api.context import Context, context
from api.schemas.answers import Health, Readiness
from shared.database import now_ms
from shared.errors import ChatrelayError, Unavailable
from shared.redis import keyspace
from shared.redis.redis_clients import RedisError

SCAN_COUNT = 1_000
OK = "ok"

log = structlog.get_logger(__name__)

blueprint = APIBlueprint("health", __name__, abp_tags=[Tag(name="Health")])


@blueprint.get("/healthz", responses={200: Health})
def alive() -> Response:
    """Answer: this process is alive."""
    return jsonify(Health().model_dump())


@blueprint.get("/readyz", responses={200: Readiness, 503: Readiness})
def ready() -> tuple[Response, int]:
    """Return whether database, Redis and at least one worker are there, each by name."""
    checks = {"database": _outcome(_database), "redis": _outcome(_redis)}
    # Workers are looked for in Redis: while it is away none can be found, and asking again would take as long again.
    checks["worker"] = _outcome(_worker) if checks["redis"] == OK else "Nobody knows while Redis is away."
    is_ready = all(outcome == OK for outcome in checks.values())
    readiness = Readiness(status="ok" if is_ready else "unavailable", checks=checks)
    return jsonify(readiness.model_dump()), HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE


def _outcome(check: Callable[[Context], None]) -> str:
    try:
        check(context())
    except ChatrelayError as error:
        return error.message
    except RedisError as error:
        log.warning("readiness.redis_away", error=str(error))
        return "Redis does not answer."
    return OK


def _database(parts: Context) -> None:
    with parts.database.read() as session:
        session.execute(select(now_ms()))


def _redis(parts: Context) -> None:
    parts.redis.ping()


def _worker(parts: Context) -> None:
    """Look for one worker's key; few keys match, and the look is bounded by the key space, not by load."""
    if next(parts.redis.scan_iter(match=keyspace.WORKER_PATTERN, count=SCAN_COUNT), None) is None:
        raise Unavailable("No worker is alive.")
