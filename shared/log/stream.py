"""A job's log in Redis: append, rewrite, read. The only file that touches its keys.

The log is a Redis Stream, one event an entry under the id `<attempt>-<seq>`; an id never changes once written. One script does all
the writing, so that an entry, its expiry and its publication happen together or not at all, and so that the fence cannot be passed
between a look and a write. Redis refuses to append below the highest id, which is the second fence under the script's own.

Everything here is a command for either kind of client, blocking or asyncio: `execute_command(*command)`, then a function that
reads the reply. The caller decides which client runs it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis

from shared.events import TERMINAL, Event
from shared.redis import keyspace

PAGE_ENTRIES = 1000
"""Entries per read, so that a long log does not keep Redis busy."""

EMPTY_TAIL = "0-0"
"""The id that the script answers as an empty log's last entry."""

_TERMINAL_TYPES = ", ".join(f"{kind} = true" for kind in sorted(TERMINAL))

WRITE_SCRIPT = Path(__file__).with_name("write.lua").read_text(encoding="utf-8").replace("TERMINAL_TYPES", _TERMINAL_TYPES)
"""The one script that writes logs; `write.lua` lists its arguments and answers."""

FENCE_SCRIPT = Path(__file__).with_name("fence.lua").read_text(encoding="utf-8")

WRITE_SHA = hashlib.sha1(WRITE_SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""The name under which Redis keeps the script."""


class WriteVerdict(StrEnum):
    """What the script answers to a writer."""

    OK = "ok"  # the entries are there (also: they were there already, and an earlier reply was lost)
    HOLE = "hole"  # the entry before them is not there: Redis was emptied, rolled back, or another worker wrote
    FENCED = "fenced"  # a later attempt has opened: this one may never write again
    CLOSED = "closed"  # a terminal event is there: nothing can follow
    LAPSED = "lapsed"  # the writer's lease ran out before the write arrived


class Written(NamedTuple):
    """The script's answer: its verdict, and the id of the log's last entry as it now is."""

    verdict: WriteVerdict
    tail: str


class Write(NamedTuple):
    """One write to one log.

    `previous` is the id that the last entry must have for the first of `entries` to follow it; `expiry_ms` counts from now;
    `lease_us` is the moment, in microseconds of Redis' clock, after which the write is void (0: never).
    """

    job_id: str
    attempt: int
    previous: str
    entries: Sequence[Event]
    expiry_ms: int
    lease_us: int = 0
    rewrite: bool = False

    def command(self, *, by_sha: bool = False) -> tuple[Any, ...]:
        """Return the write as a command: the whole script, or its SHA where Redis knows it (else it answers NOSCRIPT)."""
        fixed = (
            keyspace.live_channel(self.job_id),
            self.expiry_ms,
            self.lease_us,
            self.attempt,
            self.previous,
            "rewrite" if self.rewrite else "append",
        )
        entries = [part for event in self.entries for part in (event.id, event.type, event.data)]
        script = ("EVALSHA", WRITE_SHA) if by_sha else ("EVAL", WRITE_SCRIPT)
        return (*script, 1, keyspace.log_key(self.job_id), *fixed, *entries)


def fence_command(job_id: str, attempt: int, expiry_ms: int) -> tuple[Any, ...]:
    """Return the command after which no attempt before this one writes to the log any more; readers see nothing of it."""
    return ("EVAL", FENCE_SCRIPT, 1, keyspace.log_key(job_id), attempt, expiry_ms)


def written(reply: Sequence[bytes]) -> Written:
    """Return the script's answer."""
    return Written(WriteVerdict(reply[0].decode()), reply[1].decode())


def read_command(job_id: str, after: int = 0) -> tuple[Any, ...]:
    """Return the command that reads a page of a log after a sequence number.

    A reader does not know the attempts, so it reads from `1-<after + 1>` and drops what it has seen.
    """
    return ("XRANGE", keyspace.log_key(job_id), f"1-{after + 1}", "+", "COUNT", PAGE_ENTRIES)


def next_page_command(job_id: str, last: Event) -> tuple[Any, ...]:
    """Return the command that reads the page behind an entry."""
    return ("XRANGE", keyspace.log_key(job_id), f"({last.id}", "+", "COUNT", PAGE_ENTRIES)


def entries(reply: Sequence[Any]) -> list[Event]:
    """Return a page's events."""
    return [_entry(entry_id, fields) for entry_id, fields in reply]


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    attempt, _, seq = entry_id.partition(b"-")
    return Event(int(attempt), int(seq), fields[b"t"].decode(), fields[b"d"])


def read(client: Redis, job_id: str, after: int = 0) -> Iterator[Event]:
    """Read a log after a sequence number, a page at a time, as far as it goes."""
    reply: Any = client.execute_command(*read_command(job_id, after))
    while reply:
        page = entries(reply)
        yield from (event for event in page if event.seq > after)
        reply = len(reply) == PAGE_ENTRIES and client.execute_command(*next_page_command(job_id, page[-1]))


def remove_command(job_id: str) -> tuple[Any, ...]:
    """Return the command that deletes a log."""
    return ("DEL", keyspace.log_key(job_id))
