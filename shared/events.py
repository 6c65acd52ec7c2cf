"""The events of a job's log, and the reasons for beginning an answer anew. docs/protocol.md defines how they are sent."""

from typing import Final, NamedTuple

import orjson

from shared.json_types import JsonObject

STARTED: Final = "started"
DELTA: Final = "delta"
RESTARTED: Final = "restarted"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
INCOMPLETE: Final = "incomplete"

TERMINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED, INCOMPLETE})

# Why an answer begins anew.
WORKER_LOST: Final = "worker_lost"
PROVIDER_ERROR: Final = "provider_error"
DRAINED: Final = "drained"
LOG_LOST: Final = "log_lost"

LOG_LOST_JUMP: Final = 10_000
"""How far `seq` jumps where the log is lost (events), times the number of earlier attempts (`shared/log/opening.py`).

It is more than a worker can have shown since its last renewal."""


class Event(NamedTuple):
    """One entry of a job's log. `data` is the JSON line that readers get; it repeats `seq` and `type`."""

    attempt: int
    seq: int
    type: str
    data: bytes

    @property
    def id(self) -> str:
        """The entry's id in the log, which never changes: `<attempt>-<seq>`."""
        return f"{self.attempt}-{self.seq}"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can follow."""
        return self.type in TERMINAL

    @property
    def is_legal_jump(self) -> bool:
        """Whether this event may stand further than one after the event before it."""
        return self.type == RESTARTED and self.fields()["reason"] == LOG_LOST

    def fields(self) -> JsonObject:
        """Read the JSON line."""
        fields: JsonObject = orjson.loads(self.data)
        return fields

    def line(self) -> bytes:
        """Write the event as one line: id, type and data, parted by blanks."""
        return b"%d-%d %s %s" % (self.attempt, self.seq, self.type.encode(), self.data)


def make(attempt: int, seq: int, kind: str, fields: JsonObject) -> Event:
    """Make an event; `fields` are what its type has besides `seq` and `type`."""
    data = orjson.dumps({"seq": seq, "type": kind, **fields})
    # A copy: what orjson returns keeps the kilobytes that it was written into, for as long as a worker keeps the event.
    return Event(attempt, seq, kind, bytes(memoryview(data)))


def parse_line(line: bytes) -> Event:
    """Read what `Event.line` wrote."""
    entry_id, kind, data = line.split(b" ", 2)
    attempt, _, seq = entry_id.partition(b"-")
    return Event(int(attempt), int(seq), kind.decode(), data)


def pack(events: list[Event]) -> bytes:
    """Write many events, a line each."""
    return b"\n".join(event.line() for event in events)


def unpack(lines: bytes) -> list[Event]:
    """Read what `pack` wrote."""
    return [parse_line(line) for line in lines.split(b"\n")] if lines else []
