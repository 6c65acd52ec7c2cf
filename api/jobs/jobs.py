"""Find, list, wait for, cancel and delete jobs: what their user can do once they are accepted."""

import time

import structlog
from redis import Redis
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from api.conversations import rows
from api.streaming.job_logs import JobLogs
from shared.config import Settings
from shared.database import Database
from shared.errors import NotFound, Unavailable
from shared.jobs import claiming, ending, lifecycle
from shared.log import stream
from shared.messages import tree
from shared.models import Job, Status
from shared.queue import Queue
from shared.redis import keyspace
from shared.redis.redis_clients import RedisError

CANCEL_WAIT_SECONDS = 2.0
"""How long a cancel waits for the worker to stop, so that its answer already tells the end."""
DELETE_WAIT_SECONDS = 10.0
LOOK_SECONDS = 30.0
"""How often a request that waits for an end looks at the row."""
GRACE_SECONDS = 60.0
"""What an end may take beyond the job's deadline."""

log = structlog.get_logger(__name__)


class Jobs:
    """The jobs of all users; the user is an argument of every method."""

    def __init__(self, config: Settings, database: Database, redis: Redis, queue: Queue, job_logs: JobLogs) -> None:
        """Keep the parts."""
        self._database = database
        self._redis = redis
        self._queue = queue
        self._job_logs = job_logs
        self._log_ttl_ms = int(config.log_ttl_seconds * 1000)
        self._max_wait_seconds = config.job_deadline_seconds + GRACE_SECONDS

    def find(self, user_id: str, job_id: str, *, param: str = "job_id") -> Job:
        """Return a user's job; `param` is what the caller calls its id.

        Raises:
            NotFound: there is none, or it is another user's; the two answer alike.
        """
        with self._database.read() as session:
            job = session.scalar(select(Job).where(Job.id == job_id, Job.user_id == user_id))
        if job is None:
            raise NotFound("There is no such job.", param=param)
        return job

    def set_labels(self, job_id: str, labels: dict[str, str]) -> None:
        """Replace a job's labels."""
        with self._database.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(labels=labels))

    def wait_for_end(self, job: Job) -> Job:
        """Wait until a job is over, and return it as it ended. It goes on, and can be looked at later, if its caller has given up.

        Raises:
            NotFound: it was deleted meanwhile.
            Unavailable: this process stops, or the job does not end long after its deadline.
        """
        job = self.wait(job, self._max_wait_seconds)
        if not job.status.is_terminal:
            raise Unavailable(f"The answer is not there yet; look again at /jobs/{job.id}.")
        return job

    def wait(self, job: Job, seconds: float, *, for_change: bool = False) -> Job:
        """Wait until a job is over, or with `for_change` until its status is another one, but not longer than this.

        Returns:
            the job as it then is; at once when this process stops.

        Raises:
            NotFound: it was deleted meanwhile.
        """
        until, before = time.monotonic() + seconds, job.status
        while not (job.status.is_terminal or (for_change and job.status is not before) or self._job_logs.is_closing):
            if (left := until - time.monotonic()) <= 0:
                break
            self._job_logs.wait_for_change(job, min(left, LOOK_SECONDS))
            job = self.find(job.user_id, job.id)
        return job

    def cancel(self, user_id: str, job_id: str, wait_seconds: float = CANCEL_WAIT_SECONDS) -> Job:
        """Ask for a job's end, and wait a little for it; of a job that is over, nothing is changed.

        A job without a lease ends at once. A running one is cancelled through its worker; if the message is lost, the worker's next
        renewal finds the flag, and if the worker is dead, a sweep ends the job.

        Returns:
            the job as it then is.

        Raises:
            NotFound: as `find`.
        """
        job = self.find(user_id, job_id)
        with self._database.write() as session:
            unfinished = lifecycle.request_cancel(session, job_id)
        if unfinished:
            self._publish_cancel(job_id)
            self._end_if_unheld(job)
            running = self.find(user_id, job_id)
            if not running.status.is_terminal:
                self._job_logs.wait_for_change(running, wait_seconds)
        return self.find(user_id, job_id)

    def _publish_cancel(self, job_id: str) -> None:
        try:
            self._redis.publish(keyspace.CANCEL_CHANNEL, job_id)
        except RedisError as error:
            log.warning("cancel.not_published", job=job_id, error=str(error))

    def _end_if_unheld(self, job: Job) -> None:
        """End a job that is queued, or whose worker is dead. While Redis is away a sweep will do it, since the log must be read."""
        if job.status is Status.IN_PROGRESS and not self._has_lapsed(job):
            return
        try:
            ended = ending.end_unheld(self._database, self._redis, job, ending.CANCELLED, self._log_ttl_ms)
        except RedisError as error:
            log.warning("cancel.left_to_a_sweep", job=job.id, error=str(error))
            return
        if ended:
            log.info("job.ended_by_api", job=job.id, attempt=job.attempt + 1, status=Status.CANCELLED.value)
            self._ring_next(job)

    def _has_lapsed(self, job: Job) -> bool:
        with self._database.read() as session:
            return session.scalar(select(Job.id).where(Job.id == job.id, claiming.lapsed())) is not None

    def _ring_next(self, job: Job) -> None:
        with self._database.read() as session:
            waiting_id = session.scalar(claiming.waiting_for(job))
        if waiting_id:
            self._queue.ring(waiting_id)

    def stop(self, user_id: str, job_id: str) -> Job:
        """Cancel a job that is about to be deleted, and wait for its end, as long as is reasonable.

        Raises:
            NotFound: as `find`.
        """
        return self.cancel(user_id, job_id, DELETE_WAIT_SECONDS)

    def remove(self, user_id: str, job_id: str) -> None:
        """Delete a job; a running one is cancelled first. Its messages stay in their conversation.

        Raises:
            NotFound: as `find`.
        """
        self.stop(user_id, job_id)
        with self._database.write() as session:
            _close_gap(session, job_id)
            session.execute(delete(Job).where(Job.id == job_id, Job.user_id == user_id))
        try:
            self._redis.execute_command(*stream.remove_command(job_id))
        except RedisError as error:
            log.warning("job.log_left_to_expire", job=job_id, error=str(error))


def _close_gap(session: Session, job_id: str) -> None:
    """Let the conversation go on behind the user's message where the job did not end in time and is deleted all the same.

    The conversation is locked first, as everywhere: turns that are just being accepted take their turn.
    """
    job = session.get(Job, job_id)
    if job is None or job.status.is_terminal or job.conversation_id is None or job.answer_id is None:
        return
    rows.lock(session, job.conversation_id)
    session.refresh(job, with_for_update=True)
    if job.status.is_terminal:
        return
    tree.reparent(session, job.conversation_id, job.answer_id, job.user_message_id)
