"""Record which logs have their terminal event in Redis: for many jobs in one statement, a little later.

What a dying process leaves unrecorded a sweep finds, and closes once more. The conversations of these jobs are looked at once more,
too: a turn that was submitted, and refused to its doorbell, while the one before it ended, was not seen by that end.
"""

import threading

import structlog
from redis import Redis
from redis.exceptions import RedisError

from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.jobs import claiming, ending
from shared.log import stream
from shared.models import Job
from shared.queue import Queue

GATHER_SECONDS = 0.25

log = structlog.get_logger(__name__)


class Closings:
    """The logs that one worker process has closed."""

    def __init__(self, database: Database, redis: Redis, queue: Queue) -> None:
        """Record nothing yet; `run` does."""
        self._database = database
        self._redis = redis
        self._queue = queue
        self._closed: list[tuple[Job, bool]] = []
        self._lock = threading.Lock()

    def add(self, job: Job, *, has_rung: bool) -> None:
        """Note that a job's log is closed, and whether its end has rung for one that waited."""
        with self._lock:
            self._closed.append((job, has_rung))

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
            job_ids = [job.id for job, _ in closed]
            with self._database.write() as session:
                existing = ending.mark_closed(session, job_ids)
            self._ring([job.conversation_id for job, has_rung in closed if job.conversation_id and not has_rung])
            for job_id in set(job_ids) - existing:  # deleted once it was over; its last event has brought its log back
                self._redis.execute_command(*stream.remove_command(job_id))
        except (DatabaseUnavailable, RedisError) as error:
            log.warning("job.left_to_a_sweep", jobs=len(closed), error=str(error.__cause__ or error))
        except Exception:  # the boundary of a thread: without it a sweep would have to close every log
            log.exception("job.closing_broken")

    def _ring(self, conversation_ids: list[str]) -> None:
        if conversation_ids:
            with self._database.read() as session:
                turns = session.scalars(claiming.next_turns(conversation_ids)).all()
            for job_id in turns:
                self._queue.ring(job_id)
