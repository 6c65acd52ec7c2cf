"""What a look at the database found, remembered for a moment: the next request of the same caller need not look again."""

import threading
import time
from collections.abc import Hashable
from typing import Generic, TypeVar

LOOK_SECONDS = 1.0
"""How long it may take until a process notices what another one has changed: an account deleted, a token revoked."""
MOST = 10_000
"""Entries; with more of them everything is looked up anew."""

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by key, each for so long. Any thread may use it."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._values: dict[Hashable, tuple[T, float]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """Return what is remembered; None for nothing, or for what was kept long enough."""
        value, until = self._values.get(key, (None, 0.0))
        return value if time.monotonic() < until else None

    def put(self, key: Hashable, value: T, seconds: float | None = None) -> None:
        """Remember a value for so many seconds; None: LOOK_SECONDS."""
        until = time.monotonic() + (LOOK_SECONDS if seconds is None else seconds)
        with self._lock:
            if len(self._values) >= MOST:
                self._values.clear()
            self._values[key] = value, until

    def forget(self, key: Hashable) -> None:
        """Forget a value, which is not true any more."""
        with self._lock:
            self._values.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
