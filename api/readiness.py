"""Whether this process can do the job: database, Redis and a worker, each by name. Remembered for a second."""

import threading
import time
from collections.abc import Callable

import structlog
from redis import Redis
from sqlalchemy import false, update

from shared.database import Database
from shared.errors import ChatrelayError, Unavailable
from shared.models import User
from shared.redis import keyspace, worker_presence
from shared.redis.redis_clients import RedisError

OK = "ok"
REMEMBERED_SECONDS = 1.0
PROBE_SECONDS = 60

log = structlog.get_logger(__name__)


class Readiness:
    """The checks of one API process."""

    def __init__(self, database: Database, redis: Redis, renew_seconds: float) -> None:
        """Check nothing yet."""
        self._database = database
        self._redis = redis
        self._renew_seconds = renew_seconds
        self._lock = threading.Lock()
        self._checks: dict[str, str] = {}
        self._valid_until = 0.0

    def checks(self) -> dict[str, str]:
        """Return what each check found: `ok`, or a sentence."""
        with self._lock:
            if time.monotonic() >= self._valid_until:
                self._checks = self._look()
                self._valid_until = time.monotonic() + REMEMBERED_SECONDS
            return self._checks

    def _look(self) -> dict[str, str]:
        checks = {"database": _outcome(self._write_to_database), "redis": _outcome(self._write_to_redis)}
        # Workers are looked for in Redis: what they write there says nothing while nobody can write.
        worker = _outcome(self._find_worker) if checks["redis"] == OK else "Nobody knows while Redis is away."
        return {**checks, "worker": worker}

    def _write_to_database(self) -> None:
        """Write nothing, which a database that may only be read refuses."""
        with self._database.write() as session:
            session.execute(update(User).where(false()).values(used_tokens=0), execution_options={"synchronize_session": False})

    def _write_to_redis(self) -> None:
        self._redis.set(keyspace.READY_KEY, 1, ex=PROBE_SECONDS)

    def _find_worker(self) -> None:
        if not worker_presence.is_any_alive(self._redis, self._renew_seconds):
            raise Unavailable("No worker is alive.")


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except ChatrelayError as error:
        return error.message
    except RedisError as error:
        log.warning("readiness.redis_away", error=str(error))
        return "Redis does not answer, or cannot be written."
    return OK
