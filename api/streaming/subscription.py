"""One reader's place at the hub, for one job: what the hub's thread has received waits here for the reader's own thread."""

import threading
import time
from collections import deque
from collections.abc import Iterator

from api.streaming.batch import Batch, DirectReader
from shared.events import Event

QUEUE_EVENTS = 2_000
"""Events that wait for one reader, at the most; a slower reader reads the log instead."""


class Subscription:
    """One reader's subscription to one job. Made by `Hub.subscription`; used by one thread.

    `over` says that the job is over, `closing` that this process stops, `confirmed` that nothing is missed from now on.

    While a reader waits with nothing to do, the hub may write the next deltas to it directly. That is right among greenlets only,
    which do not interrupt one another; elsewhere there is no `direct`.
    """

    def __init__(self, direct: DirectReader | None = None) -> None:
        """Begin unconfirmed, with the log still to be read."""
        self.over = False
        self.closing = False
        self.confirmed = False
        self.written_at = 0.0
        self._direct = direct
        self._idle = False
        self._cursor = 0
        self._stale = True
        self._waiting: deque[Event] = deque()
        self._ready = threading.Event()

    def wait(self, seconds: float, cursor: int = 0) -> int:
        """Wait until there is something to do, but not longer than this.

        Args:
            seconds: how long at the most.
            cursor: what the reader has seen.

        Returns:
            what it has seen now: the hub may have written to it. When it last did, `written_at` says (by the monotonic clock).

        Raises:
            OSError: the reader's client is gone.
        """
        self._cursor, self._idle = cursor, True
        self._ready.wait(max(seconds, 0))
        self._idle = False
        self._ready.clear()
        if self._direct:
            self._direct.writer.flush()
        return self._cursor

    def must_read(self) -> bool:
        """Return once whether the log must be read: the subscription was just confirmed, or something was missed."""
        must = self.confirmed and self._stale
        if must:
            self._stale = False
            self._waiting.clear()
        return must

    def received(self) -> Iterator[Event]:
        """Take the events that were received, oldest first."""
        while not self._stale:
            try:
                yield self._waiting.popleft()
            except IndexError:  # tried, not checked before: the hub's thread may empty the queue in between
                return

    def confirm(self, confirmed: bool) -> None:
        """Note that the connection stands (or has ended): from now on (or until it stands again) nothing is missed."""
        self.confirmed = confirmed
        self._stale = True
        self._ready.set()

    def receive(self, batch: Batch) -> None:
        """Write events to the reader, or keep them for it; too many, or none, mean that it must read the log."""
        if self._direct and self._is_idle() and batch.follows(self._cursor):
            self._write(self._direct, batch)
            return
        self._waiting.extend(batch.events)
        if len(self._waiting) > QUEUE_EVENTS or not batch.events:
            self._waiting.clear()
            self._stale = True
        self._ready.set()

    def _is_idle(self) -> bool:
        """Return whether the reader waits, has nothing to do, and was not told otherwise."""
        return self._idle and not (self._stale or self._waiting or self._ready.is_set())

    def _write(self, direct: DirectReader, batch: Batch) -> None:
        self._cursor = batch.events[-1].seq
        self.written_at = time.monotonic()
        if not direct.writer.write(batch.chunk(direct.frame)):
            self._ready.set()

    def end(self, *, over: bool = False, closing: bool = False) -> None:
        """Let the reader know that the job is over, or that this process is stopping."""
        self.over, self.closing = self.over or over, self.closing or closing
        self._ready.set()
