"""Read the logs of jobs: follow one live, wait for a change of its status, look at what is there so far."""

import time
from collections.abc import Iterator

import structlog
from redis import Redis
from sqlalchemy import select

from api.streaming.batch import DirectReader
from api.streaming.endings import Endings
from api.streaming.follower import Follower, archived_after
from api.streaming.hub import Hub
from api.streaming.places import Places
from api.streaming.reader_presence import ReaderPresence
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.events import DELTA, Event
from shared.log import stream
from shared.models import Job
from shared.redis.redis_clients import RedisError

log = structlog.get_logger(__name__)


class JobLogs:
    """The logs of all jobs, as one API process reads them: followed live, or as far as they go."""

    def __init__(
        self, database: Database, redis: Redis, hub: Hub, presence: ReaderPresence, places: Places, heartbeat_seconds: float
    ) -> None:
        """Connect nothing yet; threads that look for endings and note readers start with the first reader, after any fork."""
        self._database = database
        self._redis = redis
        self._hub = hub
        self._presence = presence
        self._places = places
        self._heartbeat_seconds = heartbeat_seconds
        self._endings = Endings(database, hub, heartbeat_seconds)

    @property
    def is_closing(self) -> bool:
        """Whether this process is stopping, and hangs up on its readers."""
        return self._hub.is_closing

    def follow(self, job: Job, cursor: int, direct: DirectReader | None = None) -> Iterator[Event | None]:
        """Return a job's events after a cursor, to the terminal one; `HEARTBEAT` whenever it has been quiet for a while.

        With `direct`, deltas that come while the reader waits are written to it and not yielded.

        Ends without a terminal event when this process stops, when Redis is away for long, or when the database is away as the
        archived log is wanted; a reader then comes back with its cursor.

        Raises:
            RateLimited, Unavailable: there is no place for one more stream.
        """
        self._places.check(job.user_id)
        return self._followed(job, cursor, direct)

    def _followed(self, job: Job, cursor: int, direct: DirectReader | None) -> Iterator[Event | None]:
        try:
            with self._places.taken(job.user_id):
                yield from self._events(job, cursor, direct)
        except DatabaseUnavailable as error:
            log.warning("reader.database_away", job=job.id, error=str(error.__cause__))

    def _events(self, job: Job, cursor: int, direct: DirectReader | None) -> Iterator[Event | None]:
        if job.status.is_terminal:
            yield from archived_after(self._database, job.id, cursor)
            return
        self._endings.start()
        self._presence.start()
        with self._hub.subscription(job.id, direct) as subscription:
            yield from Follower(self._database, self._redis, subscription, job.id, cursor, self._heartbeat_seconds).run()

    def wait_for_change(self, job: Job, seconds: float) -> None:
        """Wait until a job's status is not what it was, but not longer than this (the bound is the caller's)."""
        self._endings.start()
        self._presence.start()
        until = time.monotonic() + seconds
        with self._hub.subscription(job.id) as subscription:
            while (left := until - time.monotonic()) > 0 and not (subscription.over or subscription.closing):
                if subscription.must_read() or any(event.is_terminal or event.type != DELTA for event in subscription.received()):
                    with self._database.read() as session:
                        if session.scalar(select(Job.status).where(Job.id == job.id)) != job.status:
                            return
                subscription.wait(left)

    def so_far(self, job: Job) -> list[Event]:
        """Return what there is of a job's log: all of it once it is over; of a running job nothing while Redis is away."""
        if job.status.is_terminal:
            return list(archived_after(self._database, job.id, 0))
        return self.partial(job.id) if job.attempt else []

    def partial(self, job_id: str) -> list[Event]:
        """Return what a running job's log holds so far; nothing while Redis is away."""
        try:
            return list(stream.read(self._redis, job_id))
        except RedisError as error:
            log.warning("reader.partial_log_unavailable", job=job_id, error=str(error))
            return []
