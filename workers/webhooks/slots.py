"""Room for so many things at once, of which nobody takes more than his part."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Slots:
    """Slots that are taken for somebody and given back."""

    def __init__(self, most: int, most_each: int) -> None:
        """Make so many slots, of which one owner may have so many."""
        self._most = most
        self._most_each = most_each
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def slot(self, owner: str) -> Iterator[bool]:
        """Take a slot for an owner for a while, if there is one; tells whether there is. Nobody waits."""
        with self._lock:
            is_taken = self._taken.total() < self._most and self._taken[owner] < self._most_each
            self._taken[owner] += is_taken
        try:
            yield is_taken
        finally:
            with self._lock:
                self._taken[owner] -= is_taken
                if not self._taken[owner]:
                    del self._taken[owner]
