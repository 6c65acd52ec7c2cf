"""Reads what a subscribed Redis connection is told, and notices when Redis has fallen silent."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from redis.connection import ConnectionInterface
from redis.exceptions import TimeoutError as RedisTimeoutError

READ_SECONDS = 0.5
"""How soon a listener notices that it is over."""


def hear(
    connection: ConnectionInterface, ping: Callable[[], object], is_over: Callable[[], bool], *, ping_seconds: float
) -> Iterator[Any]:
    """Yield replies as they come, until it is over.

    Args:
        connection: Connected and subscribed; only this generator reads from it.
        ping: Sends a PING; called when nothing was heard for `ping_seconds`.
        is_over: Asked before each read.
        ping_seconds: A Redis that was silent for twice as long is given up.

    Raises:
        RedisTimeoutError: Redis has answered no ping.
        RedisError: The connection broke.
    """
    heard = pinged = time.monotonic()
    while not is_over():
        try:
            message = connection.read_response(timeout=READ_SECONDS, disconnect_on_error=False)
        except RedisTimeoutError:
            now = time.monotonic()
            if now - heard > 2 * ping_seconds:
                raise
            if now - max(heard, pinged) > ping_seconds:
                pinged = now
                ping()
            continue
        heard = time.monotonic()
        yield message
