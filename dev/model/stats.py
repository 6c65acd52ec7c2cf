"""The built-in model's counters: calls, open answers, clients that left."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

KEY_CHARACTERS = 200
REMEMBERED_KEYS = 20_000
REMEMBERED_DISCONNECTS = 1_000

# The second half is the hash of the whole message: two long messages that begin alike are two keys.
CallKey: TypeAlias = tuple[str, int]


def call_key(model: str, first_user_text: str) -> CallKey:
    """Return the key by which calls are counted: the model string and the first user message."""
    return f"{model}|{first_user_text[:KEY_CHARACTERS]}", hash(first_user_text)


class Stats:
    """The counters behind `GET /stats`."""

    def __init__(self) -> None:
        self.open_streams = 0
        self.reset()

    def reset(self) -> None:
        """Set all counters to 0 but that of open answers; faults are counted from 1 again."""
        self.requests = 0
        self.completed = 0
        self.disconnects = 0
        self._calls: dict[CallKey, int] = {}
        self._left_at: deque[tuple[str, int]] = deque(maxlen=REMEMBERED_DISCONNECTS)

    def count_call(self, key: CallKey) -> int:
        """Count a call and return its number, from 1; the least recently used keys are dropped."""
        number = self._calls.pop(key, 0) + 1
        self._calls[key] = number
        if len(self._calls) > REMEMBERED_KEYS:
            del self._calls[next(iter(self._calls))]
        return number

    @contextmanager
    def answering(self, key: CallKey) -> Iterator[None]:
        """Count an answer as open for the block, and a client that leaves in it as a disconnect."""
        self.open_streams += 1
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.disconnects += 1
            self._left_at.append((key[0], time.monotonic_ns()))
            raise
        else:
            self.completed += 1
        finally:
            self.open_streams -= 1

    def as_dict(self) -> dict[str, Any]:
        """Return the body of `GET /stats`."""
        by_key: Counter[str] = Counter()
        for (shown, _), number in self._calls.items():
            by_key[shown] += number
        return {
            "requests": self.requests,
            "open_streams": self.open_streams,
            "completed": self.completed,
            "disconnects": self.disconnects,
            "by_key": by_key,
            "disconnect_clock": list(self._left_at),
        }
