"""One job's log in its owner's memory: the authority while the lease is held; Redis has the live copy."""

import asyncio
from typing import Any

from shared import events
from shared.errors import ChatrelayError
from shared.events import Event
from shared.log.stream import EMPTY_TAIL, Write

BATCH_ENTRIES = 2_000
"""Entries per write, so that no script holds Redis up for long."""


class LogLost(ChatrelayError):
    """Somebody else owns the log now."""


class LogMoved(ChatrelayError):
    """The log has more entries than the attempt that opens had read."""


class JobLog:
    """The entries of one attempt and of all before it. Lives on the event loop and needs no lock.

    `acked` entries are in Redis for sure; `last_seq` is the last that ever was, and so may have been read: an emptied Redis does
    not lower it. `lease_end` is the moment by our clock (`workers/lease/clock.py`, seconds) after which nothing may be appended
    until a renewal says otherwise.
    """

    def __init__(
        self,
        job_id: str,
        attempt: int,
        found: list[Event],
        opening: Event | None,
        *,
        expiry_ms: int,
        lease_end: float,
        last_seq: int | None = None,
    ) -> None:
        """Begin an attempt: its first event follows what was found, in Redis or (then `last_seq` tells what is there) in memory.

        Without a first event the log is only there to be closed.
        """
        self.job_id = job_id
        self.attempt = attempt
        self.entries = [*found, opening] if opening else list(found)
        self.acked = len(found)
        self.last_seq = (found[-1].seq if found else 0) if last_seq is None else last_seq
        self.lease_end = lease_end
        self.bytes = sum(len(event.data) for event in self.entries)
        self.closing = False
        self.rewriting = False
        self._expiry_ms = expiry_ms
        self._opened = opening is None
        self._error: ChatrelayError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def pending(self) -> bool:
        """Whether there is something that Redis has not got."""
        return self.acked < len(self.entries)

    @property
    def is_open(self) -> bool:
        """Whether Redis has the attempt's first event, and so refuses the attempts before."""
        return self._opened

    @property
    def is_lost(self) -> bool:
        """Whether nothing more can be written."""
        return self._error is not None

    def append(self, kind: str, fields: dict[str, Any]) -> None:
        """Add an event; the flusher brings it to Redis."""
        event = events.make(self.attempt, self.entries[-1].seq + 1, kind, fields)
        self.entries.append(event)
        self.bytes += len(event.data)

    def close(self, terminal: Event, expiry_ms: int) -> None:
        """Add the terminal event, which the row already holds: no lease is needed any more."""
        self.entries.append(terminal)
        self.attempt = terminal.attempt
        self.closing = True
        self._expiry_ms = expiry_ms

    def write(self, lease_us: int) -> Write:
        """Say what to write next; without pending entries it only looks at the log's tail."""
        if self.rewriting:
            return Write(self.job_id, self.attempt, EMPTY_TAIL, list(self.entries), self._expiry_ms, lease_us, rewrite=True)
        previous = self.entries[self.acked - 1].id if self.acked else EMPTY_TAIL
        batch = self.entries[self.acked : self.acked + BATCH_ENTRIES]
        return Write(self.job_id, self.attempt, previous, batch, self._expiry_ms, lease_us)

    def confirm(self, write: Write) -> None:
        """Note that a write is in Redis."""
        self.acked = len(write.entries) if write.rewrite else self.acked + len(write.entries)
        self.last_seq = max(self.last_seq, self.entries[self.acked - 1].seq)
        self.rewriting = False
        self._opened = True
        if not self.pending:
            self._release()

    def repair(self, tail: str) -> None:
        """Note that Redis has another tail than we thought, and choose what to write next.

        A tail of ours, or none: Redis was rolled back or emptied, and the missing entries are sent again. A foreign one: somebody
        whose lease had lapsed wrote after a FLUSHALL had taken the fence away; the whole log is written anew. An attempt that has
        not opened yet has merely read too early.
        """
        for index in range(len(self.entries) - 1, -1, -1):
            if self.entries[index].id == tail:
                self.acked = index + 1
                return
        if tail == EMPTY_TAIL:
            self.acked = 0
        elif self._opened:
            self.rewriting = True
        else:
            self.fail(LogMoved())

    def fail(self, error: ChatrelayError) -> None:
        """Give up: nothing more will be written."""
        self._error = error
        self._release()

    async def flushed(self) -> None:
        """Wait until Redis has every entry.

        Raises:
            LogLost, LogMoved: it never will.
        """
        while self.pending and not self._error:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)
        if self._error:
            raise self._error

    def _release(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter and not waiter.done():
            waiter.set_result(None)
