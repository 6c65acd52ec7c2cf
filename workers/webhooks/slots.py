"""Slots for so many things at once, of which no owner takes more than a part."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Slots:
    """Slots that are taken for an owner and given back."""

    def __init__(self, limit: int, limit_each: int) -> None:
        """Allow `limit` slots at once, and each owner `limit_each` of them."""
        self._limit = limit
        self._limit_each = limit_each
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, owner: str) -> Iterator[bool]:
        """Take a slot for an owner for a while if one is free, and yield whether it is. Nobody waits."""
        with self._lock:
            is_taken = self._taken.total() < self._limit and self._taken[owner] < self._limit_each
            self._taken[owner] += is_taken
        try:
            yield is_taken
        finally:
            with self._lock:
                self._taken[owner] -= is_taken
                if not self._taken[owner]:
                    del self._taken[owner]
