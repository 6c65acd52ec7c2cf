"""Cancels answers that nobody reads any more, where their API says so: their clients can stop them in no other way."""

import time

import structlog
from redis import Redis
from redis.exceptions import RedisError

from shared.database import Database
from shared.jobs import lifecycle
from shared.redis import keyspace, reader_presence

MISSED_LOOKS = 3

log = structlog.get_logger(__name__)


class Abandonment:
    """One worker's look at abandoned answers.

    Nobody could note a reader while Redis was away, so that it must have answered for as long as an answer may be without one.
    """

    def __init__(self, database: Database, redis: Redis, abandoned_seconds: float, look_seconds: float) -> None:
        """Keep the parts; `abandoned_seconds`: how long an answer goes on without a reader; `look_seconds`: between two looks."""
        self._database = database
        self._redis = redis
        self._abandoned_seconds = abandoned_seconds
        self._gap_seconds = MISSED_LOOKS * look_seconds
        self._answers_since = self._answered_at = float("-inf")

    def cancel(self) -> None:
        """Ask for the end of abandoned answers; their workers, or else the next sweeps, end them.

        Raises:
            DatabaseUnavailable, RedisError: the next look will do it.
        """
        try:
            found = reader_presence.abandoned(self._redis, self._abandoned_seconds)
        except RedisError:
            self._answered_at = float("-inf")
            raise
        if not self._has_answered_long_enough():
            return
        for job_id in found:
            with self._database.write() as session:
                is_open = lifecycle.request_cancel(session, job_id)
            if is_open:
                log.info("job.abandoned", job=job_id)
                self._redis.publish(keyspace.CANCEL_CHANNEL, job_id)
        reader_presence.forget(self._redis, found)

    def _has_answered_long_enough(self) -> bool:
        now = time.monotonic()
        if now - self._answered_at > self._gap_seconds:
            self._answers_since = now
        self._answered_at = now
        return now - self._answers_since >= self._abandoned_seconds
