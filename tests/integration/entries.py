"""Log entries to test with, and the way they are written and looked at."""

from typing import Any

import redis

from shared import events
from shared.events import Event
from shared.log import stream
from shared.log.stream import Write, Written
from shared.redis import keyspace

JOB = "job_1"
EXPIRY_MS = 60_000


def started(attempt: int = 1, seq: int = 1) -> Event:
    return events.make(attempt, seq, events.STARTED, {"attempt": attempt, "model": "demo"})


def restarted(attempt: int, seq: int, reason: str = events.WORKER_LOST) -> Event:
    return events.make(attempt, seq, events.RESTARTED, {"attempt": attempt, "reason": reason})


def delta(attempt: int, seq: int, text: str | None = None) -> Event:
    return events.make(attempt, seq, events.DELTA, {"delta": {"content": f"{seq} " if text is None else text}})


def completed(attempt: int, seq: int) -> Event:
    return events.make(attempt, seq, events.COMPLETED, {"finish_reason": "stop", "usage": None})


def begun(last: int, attempt: int = 1) -> list[Event]:
    """A log of one attempt, up to this number."""
    return [started(attempt), *(delta(attempt, seq) for seq in range(2, last + 1))]


def write(client: redis.Redis, entries: list[Event], previous: str = stream.EMPTY_TAIL, **how: Any) -> Written:
    """Write as the last of these entries' attempt."""
    fields = {"job_id": JOB, "attempt": entries[-1].attempt if entries else 1, "expiry_ms": EXPIRY_MS, **how}
    return stream.written(client.execute_command(*Write(previous=previous, entries=entries, **fields).command()))


def logged(client: redis.Redis, job_id: str = JOB) -> list[Event]:
    """The log as Redis has it."""
    return list(stream.read(client, job_id))


def clock_us(client: redis.Redis) -> int:
    """Redis' own clock."""
    seconds, microseconds = client.time()
    return int(seconds) * 1_000_000 + int(microseconds)


class Listener:
    """Receives what is published about a job."""

    def __init__(self, client: redis.Redis, job_id: str = JOB) -> None:
        """Subscribe, and wait until that is confirmed."""
        self._pubsub = client.pubsub()
        self._pubsub.subscribe(keyspace.live_channel(job_id))
        assert self._pubsub.get_message(timeout=5) is not None

    def received(self) -> list[bytes]:
        """All messages so far. Redis answers in order, so a ping's answer comes after them."""
        self._pubsub.ping("done")
        messages: list[bytes] = []
        while (message := self._pubsub.get_message(timeout=5)) is not None and message["type"] != "pong":
            messages.append(message["data"])
        return messages

    def close(self) -> None:
        """Close the connection."""
        self._pubsub.close()
