"""`/healthz` and `/readyz`: alive, and able to do the job."""

from collections.abc import Callable

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag
from sqlalchemy import select

from api.context import Context, context
from api.schemas import Health, Readiness
from shared import keyspace
from shared.database import now_ms
from shared.errors import ChatrelayError, Unavailable
from shared.redis_clients import RedisError

SCAN_COUNT = 1_000
UNAVAILABLE = 503

blueprint = APIBlueprint("health", __name__, abp_tags=[Tag(name="Health")])


@blueprint.get("/healthz", responses={200: Health})
def alive() -> Response:
    """Tell that this process answers."""
    return jsonify(Health().model_dump())


@blueprint.get("/readyz", responses={200: Readiness, 503: Readiness})
def ready() -> tuple[Response, int]:
    """Tell whether database, Redis and at least one worker are there, each by name."""
    checks = {name: _outcome(check) for name, check in _CHECKS.items()}
    is_ready = all(outcome == "ok" for outcome in checks.values())
    readiness = Readiness(status="ok" if is_ready else "unavailable", checks=checks)
    return jsonify(readiness.model_dump()), 200 if is_ready else UNAVAILABLE


def _outcome(check: Callable[[Context], None]) -> str:
    try:
        check(context())
    except (ChatrelayError, RedisError) as error:
        return str(error) or type(error).__name__
    return "ok"


def _database(parts: Context) -> None:
    with parts.database.read() as session:
        session.execute(select(now_ms()))


def _redis(parts: Context) -> None:
    parts.redis.ping()


def _worker(parts: Context) -> None:
    """Look for one worker's key; few keys match, and the look is bounded by the key space, not by load."""
    if next(parts.redis.scan_iter(match=keyspace.WORKER_PATTERN, count=SCAN_COUNT), None) is None:
        raise Unavailable("no worker is alive")


_CHECKS: dict[str, Callable[[Context], None]] = {"database": _database, "redis": _redis, "worker": _worker}
