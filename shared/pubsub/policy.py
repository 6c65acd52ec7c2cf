"""What both listeners have in common: times, the names of their log events, how silence is noticed, how long they wait."""

import time
from typing import NamedTuple

from redis.exceptions import TimeoutError as RedisTimeoutError

PING_SECONDS = 2.0
"""A Redis that was silent for so long is pinged, and given up after twice as long."""
READ_SECONDS = 0.5
"""How long one read waits: so soon a listener notices that it is over, or that a ping is due."""
RETRY_FIRST_SECONDS = 0.05
RETRY_MAX_SECONDS = 0.2
"""Waits before a new connection: they double from the first to this."""


class LogEvents(NamedTuple):
    """Under which names a listener logs what goes wrong: Redis is away; a defect, maybe of a callback."""

    redis_away: str
    broken: str


class Silence:
    """How long Redis has been silent on one connection, and what to do about it."""

    def __init__(self) -> None:
        """Begin with a connection that was just made."""
        self._received = self._pinged = time.monotonic()

    def end(self) -> None:
        """Note that something was received."""
        self._received = time.monotonic()

    def needs_ping(self) -> bool:
        """Return whether a ping is due, which is then sent by the caller.

        Raises:
            RedisTimeoutError: Redis has not answered the last one.
        """
        now = time.monotonic()
        if now - self._received > 2 * PING_SECONDS:
            raise RedisTimeoutError(f"Redis was silent for {2 * PING_SECONDS:g} s.")
        is_due = now - max(self._received, self._pinged) > PING_SECONDS
        if is_due:
            self._pinged = now
        return is_due


class Retries:
    """The waits between connections."""

    def __init__(self) -> None:
        """Begin with the shortest wait."""
        self._next_seconds = RETRY_FIRST_SECONDS

    def reset(self) -> None:
        """Begin again with the shortest wait: there was a connection."""
        self._next_seconds = RETRY_FIRST_SECONDS

    def seconds(self) -> float:
        """Return the next wait."""
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, RETRY_MAX_SECONDS)
        return seconds
