"""Watch a job from a cursor: first the log, then live; the archived log once the job is over.

A reader subscribes, waits until the subscription is confirmed, reads the log after its cursor, then goes live and drops what it has
seen. A number that is missing sends it back to the log. So it sees every event once and in order, whatever pub/sub does.
"""

import threading
import time
from collections.abc import Iterator
from typing import Final

import structlog
from redis import Redis
from sqlalchemy import select

from api.context import Context
from api.streaming.hub import Hub
from api.streaming.subscription import Subscription
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.events import Event
from shared.jobs import ending
from shared.log import stream
from shared.models import UNFINISHED, Job
from shared.redis_clients import RedisError

AGAIN_FIRST_SECONDS = 0.05
AGAIN_MAX_SECONDS = 2.0
AWAY_SECONDS = 300.0
"""A reader is kept waiting this long while Redis is away, then hung up on; it will come back by itself."""
IDS_PER_QUERY = 5_000

HEARTBEAT: Final = None
"""What a follower says when there is nothing to say."""

log = structlog.get_logger(__name__)


def follow(context: Context, job: Job, cursor: int) -> Iterator[Event | None]:
    """Tell a job's events after a cursor, to the terminal one; `HEARTBEAT` whenever it has been quiet for a while.

    Ends without a terminal event when this process stops, when Redis is away for long, or when the database is away as the archived
    log is wanted; a reader then comes back with its cursor.
    """
    try:
        if job.status.is_terminal:
            yield from _archived(context.database, job.id, cursor)
            return
        with context.hub.subscription(job.id) as reader:
            yield from _Follower(context, job.id, cursor, reader).run()
    except DatabaseUnavailable as error:
        log.warning("reader.database_away", job=job.id, error=str(error.__cause__))


class _Follower:
    """One reader's way through one log."""

    def __init__(self, context: Context, job_id: str, cursor: int, reader: Subscription) -> None:
        self._context = context
        self._job_id = job_id
        self._cursor = cursor
        self._reader = reader
        self._done = False
        self._heartbeat_seconds = context.config.heartbeat_seconds
        self._again_seconds = AGAIN_FIRST_SECONDS
        self._read_at = 0.0
        self._heard_from = time.monotonic()
        self._unread = False

    def run(self) -> Iterator[Event | None]:
        quiet_since = time.monotonic()
        while True:
            for event in self._next():
                yield event
                quiet_since = time.monotonic()
            if self._done or self._reader.closing or self._gives_up():
                return
            if self._reader.over:
                yield from _archived(self._context.database, self._job_id, self._cursor)
                return
            beat_at = quiet_since + self._heartbeat_seconds
            if time.monotonic() >= beat_at:
                yield HEARTBEAT
                quiet_since = time.monotonic()
                continue
            self._reader.wait(min(beat_at, self._read_at or beat_at) - time.monotonic())

    def _next(self) -> Iterator[Event]:
        """Tell what can be told now: from the log where that must be read, else what was heard."""
        if self._reader.must_read() or (self._read_at and time.monotonic() >= self._read_at):
            self._read_at = 0.0
            yield from self._in_order(self._from_log(), from_log=True)
        yield from self._in_order(self._reader.heard(), from_log=False)

    def _in_order(self, told: Iterator[Event], *, from_log: bool) -> Iterator[Event]:
        for event in told:
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
            yield from stream.read(self._context.redis, self._job_id, self._cursor)
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
        """Tell whether Redis has been away for so long that the reader had better come back later."""
        if self._reader.confirmed and not self._unread:
            self._heard_from = time.monotonic()
        return time.monotonic() - self._heard_from > AWAY_SECONDS


def _archived(database: Database, job_id: str, cursor: int) -> Iterator[Event]:
    with database.read() as session:
        whole = ending.archived(session, job_id)
    yield from (event for event in whole if event.seq > cursor)


def wait_for_change(context: Context, job: Job, seconds: float) -> None:
    """Wait until a job's status is not what it was, but not longer than this (the bound is the caller's)."""
    until = time.monotonic() + seconds
    with context.hub.subscription(job.id) as reader:
        while (left := until - time.monotonic()) > 0 and not (reader.over or reader.closing):
            if reader.must_read() or any(event.is_terminal or event.type != "delta" for event in reader.heard()):
                with context.database.read() as session:
                    if session.scalar(select(Job.status).where(Job.id == job.id)) != job.status:
                        return
            reader.wait(left)


def partial_log(redis: Redis, job_id: str) -> list[Event]:
    """Read what a running job has said so far; nothing while Redis is away."""
    try:
        return list(stream.read(redis, job_id))
    except RedisError as error:
        log.warning("reader.redis_away", job=job_id, error=str(error))
        return []


class Endings:
    """Asks the database, at each heartbeat and for all readers at once, which followed jobs are over."""

    def __init__(self, database: Database, hub: Hub, seconds: float) -> None:
        """Prepare; `start` asks."""
        self._database = database
        self._hub = hub
        self._seconds = seconds

    def start(self) -> None:
        """Ask for as long as the process lives."""
        threading.Thread(target=self._run, name="endings", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._seconds)
            try:
                self._ask(self._hub.followed())
            except DatabaseUnavailable as error:
                log.warning("endings.database_away", error=str(error.__cause__))
            except Exception:
                log.exception("endings.broken")  # and on: without this thread readers might wait for endings that nobody published

    def _ask(self, followed: list[str]) -> None:
        for start in range(0, len(followed), IDS_PER_QUERY):
            some = followed[start : start + IDS_PER_QUERY]
            with self._database.read() as session:
                running = set(session.scalars(select(Job.id).where(Job.id.in_(some), Job.status.in_(UNFINISHED))))
            self._hub.end(job_id for job_id in some if job_id not in running)
