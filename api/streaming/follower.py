"""One reader's way through one log, from a cursor: first the log, then live; the archived log once the job is over.

A reader subscribes, waits until the subscription is confirmed, reads the log after its cursor, then goes live and drops what it has
seen. A number that is missing sends it back to the log. So it sees every event once and in order, whatever pub/sub does.
"""

import time
from collections.abc import Iterator
from typing import Final

import structlog
from redis import Redis

from api.streaming.subscription import Subscription
from shared.database import Database
from shared.events import Event
from shared.jobs import ending
from shared.log import stream
from shared.redis.redis_clients import RedisError

AGAIN_FIRST_SECONDS = 0.05
AGAIN_MAX_SECONDS = 2.0
AWAY_SECONDS = 300.0
"""A reader is kept waiting this long while Redis is away, then hung up on; it will come back by itself."""

HEARTBEAT: Final = None
"""What a follower yields when there is nothing to say."""

log = structlog.get_logger(__name__)


class Follower:
    """One reader's way through one log."""

    def __init__(
        self, database: Database, redis: Redis, subscription: Subscription, job_id: str, cursor: int, heartbeat_seconds: float
    ) -> None:
        """Stand behind the cursor; nothing is read yet."""
        self._database = database
        self._redis = redis
        self._job_id = job_id
        self._cursor = cursor
        self._subscription = subscription
        self._done = False
        self._heartbeat_seconds = heartbeat_seconds
        self._again_seconds = AGAIN_FIRST_SECONDS
        self._read_at = 0.0
        self._received_at = time.monotonic()
        self._unread = False

    def run(self) -> Iterator[Event | None]:
        """Yield events, and `HEARTBEAT`, until the log is over or the reader has to come back later."""
        quiet_since = time.monotonic()
        while True:
            for event in self._next():
                yield event
                quiet_since = time.monotonic()
            if self._done or self._subscription.closing or self._gives_up():
                return
            if self._subscription.over:
                yield from archived_after(self._database, self._job_id, self._cursor)
                return
            beat_at = quiet_since + self._heartbeat_seconds
            if time.monotonic() >= beat_at:
                yield HEARTBEAT
                quiet_since = time.monotonic()
                continue
            self._wait(min(beat_at, self._read_at or beat_at))
            quiet_since = max(quiet_since, self._subscription.written_at)

    def _wait(self, until: float) -> None:
        """Wait for something to do; meanwhile the hub may write to the reader."""
        cursor = self._subscription.wait(until - time.monotonic(), self._cursor)
        if cursor != self._cursor:
            self._cursor = cursor
            self._again_seconds = AGAIN_FIRST_SECONDS

    def _next(self) -> Iterator[Event]:
        """Yield what is there now: from the log where that must be read, else what the hub has received."""
        if self._subscription.must_read() or (self._read_at and time.monotonic() >= self._read_at):
            self._read_at = 0.0
            yield from self._in_order(self._from_log(), from_log=True)
        yield from self._in_order(self._subscription.received(), from_log=False)

    def _in_order(self, events: Iterator[Event], *, from_log: bool) -> Iterator[Event]:
        for event in events:
            if event.seq > self._cursor:
                if event.seq != self._cursor + 1 and not (from_log and event.is_legal_jump):
                    return self._read_again()
                self._cursor = event.seq
                self._again_seconds = AGAIN_FIRST_SECONDS
                yield event
            if event.is_terminal:
                self._done = True
                return None
        return None

    def _from_log(self) -> Iterator[Event]:
        try:
            yield from stream.read(self._redis, self._job_id, self._cursor)
            self._unread = False
        except RedisError as error:
            log.warning("reader.redis_away", job=self._job_id, error=str(error))
            self._unread = True
            self._read_again()

    def _read_again(self) -> None:
        """Look at the log once more, after a wait that grows: it may be under repair."""
        if self._read_at:
            return  # a look is due already; what flows in meanwhile must not put it off
        self._read_at = time.monotonic() + self._again_seconds
        self._again_seconds = min(2 * self._again_seconds, AGAIN_MAX_SECONDS)

    def _gives_up(self) -> bool:
        """Return whether Redis has been away for so long that the reader had better come back later."""
        if self._subscription.confirmed and not self._unread:
            self._received_at = time.monotonic()
        return time.monotonic() - self._received_at > AWAY_SECONDS


def archived_after(database: Database, job_id: str, cursor: int) -> Iterator[Event]:
    """Yield the events behind a cursor from the row of a job that is over.

    Raises:
        DatabaseUnavailable: the database is away.
    """
    with database.read() as session:
        whole = ending.archived(session, job_id)
    yield from (event for event in whole if event.seq > cursor)
