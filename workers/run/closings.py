"""Record which logs have their terminal event in Redis: for many jobs in one statement, a little later.

What a dying process leaves unrecorded a sweep finds, and closes once more.
"""

import threading

import structlog
from redis import Redis
from redis.exceptions import RedisError

from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.jobs import ending
from shared.log import stream

GATHER_SECONDS = 0.25

log = structlog.get_logger(__name__)


class Closings:
    """The logs that one worker process has closed."""

    def __init__(self, database: Database, redis: Redis) -> None:
        """Record nothing yet; `run` does."""
        self._database = database
        self._redis = redis
        self._closed: list[str] = []
        self._lock = threading.Lock()

    def add(self, job_id: str) -> None:
        """Note that a job's log is closed."""
        with self._lock:
            self._closed.append(job_id)

    def run(self, stopped: threading.Event) -> None:
        """Record until stopped, and then what is left."""
        while not stopped.wait(GATHER_SECONDS):
            self.record()
        self.record()

    def record(self) -> None:
        """Record what was noted. What cannot be recorded now is left to a sweep."""
        with self._lock:
            closed, self._closed = self._closed, []
        if not closed:
            return
        try:
            with self._database.write() as session:
                existing = ending.mark_closed(session, closed)
            for job_id in set(closed) - existing:  # deleted once it was over; its last event has brought its log back
                self._redis.execute_command(*stream.remove_command(job_id))
        except (DatabaseUnavailable, RedisError) as error:
            log.warning("job.left_to_a_sweep", jobs=len(closed), error=str(error.__cause__ or error))
        except Exception:  # the boundary of a thread: without it a sweep would have to close every log
            log.exception("job.closing_broken")
