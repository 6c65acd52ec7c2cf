"""One reader's place at the hub, for one job: what the hub's thread has received waits here for the reader's own thread."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator

from shared.events import Event

QUEUE_EVENTS = 2_000
"""Events that wait for one reader, at the most; a slower reader reads the log instead."""


class Subscription:
    """One reader's subscription to one job. Made by `Hub.subscription`; used by one thread.

    `over` says that the job is over, `closing` that this process stops, `confirmed` that nothing is missed from now on.
    """

    def __init__(self) -> None:
        """Begin unconfirmed, with the log still to be read."""
        self.over = False
        self.closing = False
        self.confirmed = False
        self._stale = True
        self._waiting: deque[Event] = deque()
        self._ready = threading.Event()

    def wait(self, seconds: float) -> None:
        """Wait until there is something to do, but not longer than this."""
        self._ready.wait(max(seconds, 0))
        self._ready.clear()

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

    def receive(self, events: Iterable[Event]) -> None:
        """Keep events for the reader; too many, or none, mean that it must read the log."""
        before = len(self._waiting)
        self._waiting.extend(events)
        if len(self._waiting) > QUEUE_EVENTS or len(self._waiting) == before:
            self._waiting.clear()
            self._stale = True
        self._ready.set()

    def end(self, *, over: bool = False, closing: bool = False) -> None:
        """Let the reader know that the job is over, or that this process is stopping."""
        self.over, self.closing = self.over or over, self.closing or closing
        self._ready.set()
