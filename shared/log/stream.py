"""A job's log in Redis: append, rewrite, read. The only file that touches its keys.

The log is a Redis Stream, one event an entry under the id `<attempt>-<seq>`; an id never changes once written. One script does all
the writing, so that an entry, its expiry and its publication happen together or not at all, and so that the fence cannot be passed
between a look and a write. Redis lets nobody append below the highest id, which is the second fence under the script's own.

Everything here is a command for either kind of client, blocking or asyncio: `execute_command(*command)`, then a function that
reads the reply. Who holds the connection, decides.
"""

import hashlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from redis import Redis

from shared import keyspace
from shared.events import TERMINAL, Event

PAGE_ENTRIES = 1000
"""Entries per read, so that a long log does not hold Redis up."""

EMPTY_TAIL = "0-0"
"""What the script answers for the id of an empty log's last entry."""

WRITE_SCRIPT = """
-- KEYS[1] the log (stream: id <attempt>-<seq>, fields t = type, d = data)
-- ARGV[1] live channel   [2] expiry, ms   [3] the writer's lease in Redis' own clock, us (0: no lease)   [4] the writer's attempt
-- ARGV[5] id that the entry before must have   [6] 'append' or 'rewrite'   [7...] id, type, data of each entry
-- Answers {verdict, id of the log's last entry}
local tail, kind = '0-0', ''
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last[1] then tail, kind = last[1][1], last[1][2][2] end
local attempt = tonumber(string.match(tail, '^%d+'))
local terminal = ({TERMINAL_TYPES})[kind]
if tonumber(ARGV[3]) > 0 then
  local now = redis.call('TIME')
  if now[1] * 1000000 + now[2] > tonumber(ARGV[3]) then return {'lapsed', tail} end
end
if attempt > tonumber(ARGV[4]) then return {'fenced', tail} end
local first = 7
if ARGV[6] == 'rewrite' then
  if terminal then return {'closed', tail} end
  redis.call('DEL', KEYS[1])
elseif tail ~= ARGV[5] then
  first = nil
  for i = 7, #ARGV, 3 do
    if ARGV[i] == tail then first = i + 3 end
  end
  if not first then return {terminal and 'closed' or 'hole', tail} end
elseif terminal and #ARGV > 6 then
  return {'closed', tail}
end
local lines = {}
for i = first, #ARGV, 3 do
  redis.call('XADD', KEYS[1], ARGV[i], 't', ARGV[i + 1], 'd', ARGV[i + 2])
  lines[#lines + 1] = ARGV[i] .. ' ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2]
  tail = ARGV[i]
end
if #lines > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PUBLISH', ARGV[1], ARGV[6] == 'rewrite' and '' or table.concat(lines, '\\n'))
end
return {'ok', tail}
""".replace("TERMINAL_TYPES", ", ".join(f"{kind} = true" for kind in sorted(TERMINAL)))

WRITE_SHA = hashlib.sha1(WRITE_SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""The name under which Redis keeps the script."""


class WriteVerdict(StrEnum):
    """What the log says to a writer."""

    OK = "ok"  # the entries are there (also: they were there already, and an earlier reply was lost)
    HOLE = "hole"  # the entry before them is not there: Redis was emptied, rolled back, or somebody else wrote
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
        """The write as a command: the script whole, or by its SHA where Redis is sure to know it (else it answers NOSCRIPT)."""
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


def written(reply: Sequence[bytes]) -> Written:
    """Read the script's answer."""
    return Written(WriteVerdict(reply[0].decode()), reply[1].decode())


def read_command(job_id: str, after: int = 0) -> tuple[Any, ...]:
    """Ask for a page of a log after a sequence number.

    A reader does not know the attempts, so it asks from `1-<after + 1>` and drops what it has seen.
    """
    return ("XRANGE", keyspace.log_key(job_id), f"1-{after + 1}", "+", "COUNT", PAGE_ENTRIES)


def next_page_command(job_id: str, last: Event) -> tuple[Any, ...]:
    """Ask for the page that follows an entry."""
    return ("XRANGE", keyspace.log_key(job_id), f"({last.id}", "+", "COUNT", PAGE_ENTRIES)


def entries(reply: Sequence[Any]) -> list[Event]:
    """Read a page."""
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
    """Forget a log."""
    return ("DEL", keyspace.log_key(job_id))
