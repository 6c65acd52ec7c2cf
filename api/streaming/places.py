"""How many streams an API process holds: of one user, so that others have room, and of all, so that requests have."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import RateLimited, Unavailable

FOR_STREAMS = 0.9
"""The share of a process' connections that streams may take; the rest is for requests."""


class Places:
    """The streams of one process, counted. Greenlets of one thread use it, or threads that may miscount by one."""

    def __init__(self, of_one_user: int, connections: int) -> None:
        """Keep the bounds."""
        self._of_one_user = of_one_user
        self._of_all = max(1, int(connections * FOR_STREAMS))
        self._taken: Counter[str] = Counter()

    def check(self, user_id: str) -> None:
        """Check that there is room for one more stream of a user.

        Raises:
            RateLimited: the user has too many.
            Unavailable: this process has; another one may have room.
        """
        if self._taken[user_id] >= self._of_one_user:
            raise RateLimited(f"At most {self._of_one_user} streams may be open.", code="too_many_streams")
        if self._taken.total() >= self._of_all:
            raise Unavailable("Too many streams are open here; try again.")

    @contextmanager
    def taken(self, user_id: str) -> Iterator[None]:
        """Hold a place while a stream is read."""
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]
