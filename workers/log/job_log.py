"""One job's log in its owner's memory: the authority for as long as the lease lasts; Redis has the live copy."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from shared import events
from shared.errors import ChatrelayError
from shared.events import Event
from shared.json_types import JsonObject
from shared.log.stream import EMPTY_TAIL, Write

BATCH_ENTRIES = 2_000
"""Entries per write, so that no script keeps Redis busy for long."""


class LogLost(ChatrelayError):
    """Another worker owns the log now."""


class LogMoved(ChatrelayError):
    """The log has more entries than were read when it was opened."""


class WriterLease(Protocol):
    """The lease under which a log is written: it alone knows the attempt, and until when (seconds by our clock) may be written."""

    @property
    def job_id(self) -> str:
        """The job whose log this is."""
        ...

    @property
    def attempt(self) -> int:
        """The attempt that writes."""
        ...

    @property
    def ends_at(self) -> float:
        """The moment after which nothing may be appended until a renewal says otherwise."""
        ...


class JobLog:
    """The events of one job, of all attempts so far. Lives on the event loop and needs no lock.

    `acked` entries are known to be in Redis; `last_seq` is the last that ever was, and so may have been read: an emptied Redis does
    not lower it.
    """

    def __init__(self, lease: WriterLease, found: Sequence[Event], *, expiry_ms: int) -> None:
        """Begin with what was found in Redis, of the attempts before. Nothing is to be written yet."""
        self.lease = lease
        self.entries = list(found)
        self.acked = len(self.entries)
        self.last_seq = self.entries[-1].seq if self.entries else 0
        self.bytes = sum(len(event.data) for event in self.entries)
        self.closing = False
        self.rewriting = False
        self._expiry_ms = expiry_ms
        self._is_open = False
        self._error: ChatrelayError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def pending(self) -> bool:
        """Whether there is something that Redis has not got."""
        return self.acked < len(self.entries)

    @property
    def is_open(self) -> bool:
        """Whether Redis has had the first event of an attempt of this lease, and so refuses the attempts before it.

        From then on this memory is the authority, for the lease's next attempts as well.
        """
        return self._is_open

    @property
    def is_lost(self) -> bool:
        """Whether nothing more can be written."""
        return self._error is not None

    def add(self, event: Event) -> None:
        """Add an event that was made elsewhere; the flusher brings it to Redis."""
        self.entries.append(event)
        self.bytes += len(event.data)

    def append(self, kind: str, fields: JsonObject) -> None:
        """Make the next event of this attempt, and add it."""
        self.add(events.make(self.lease.attempt, self.entries[-1].seq + 1, kind, fields))

    def close(self, terminal: Event, expiry_ms: int) -> None:
        """Add the terminal event, which the row already holds: no lease is needed any more."""
        self.add(terminal)
        self.closing = True
        self._expiry_ms = expiry_ms

    def write(self, lease_us: int) -> Write:
        """Return what to write next; without pending entries it only looks at the log's tail."""
        job_id, attempt = self.lease.job_id, self.lease.attempt
        if self.rewriting:
            return Write(job_id, attempt, EMPTY_TAIL, list(self.entries), self._expiry_ms, lease_us, rewrite=True)
        previous = self.entries[self.acked - 1].id if self.acked else EMPTY_TAIL
        batch = self.entries[self.acked : self.acked + BATCH_ENTRIES]
        return Write(job_id, attempt, previous, batch, self._expiry_ms, lease_us)

    def confirm(self, write: Write) -> None:
        """Note that a write is in Redis."""
        self.acked = len(write.entries) if write.rewrite else self.acked + len(write.entries)
        self.last_seq = max(self.last_seq, self.entries[self.acked - 1].seq)
        self.rewriting = False
        self._is_open = True
        if not self.pending:
            self._release()

    def repair(self, tail: str) -> None:
        """Note that Redis has another tail than we thought, and choose what to write next.

        A tail of ours, or none: Redis was rolled back or emptied, and the missing entries are sent again. A foreign one: an owner
        whose lease had lapsed wrote after a FLUSHALL had taken the fence away; the whole log is written anew. A log that is not
        open yet has merely been read too early.
        """
        for index in range(len(self.entries) - 1, -1, -1):
            if self.entries[index].id == tail:
                self.acked = index + 1
                return
        if tail == EMPTY_TAIL:
            self.acked = 0
        elif self._is_open or self.closing:
            self.rewriting = True
        else:
            self.fail(LogMoved())

    def fail(self, error: ChatrelayError) -> None:
        """Give up: nothing more will be written, and those who wait for it get this error."""
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
