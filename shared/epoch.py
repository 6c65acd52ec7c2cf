"""Which life of Redis this is: a word that changes when Redis is restarted, replaced or emptied.

A log that was written in another life may be short by what was not yet on disk, so only its owner's memory can be trusted then.
The word joins the server's own run id, which changes with every start, and a random marker, which FLUSHALL takes away.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from shared import keyspace

MARKER_BYTES = 8
RUN_ID_CHARS = 16


def commands() -> list[tuple[Any, ...]]:
    """What to ask, in this order; `of` reads the answers."""
    return [
        ("SET", keyspace.EPOCH_KEY, secrets.token_hex(MARKER_BYTES), "NX"),
        ("GET", keyspace.EPOCH_KEY),
        ("INFO", "server"),
    ]


def of(replies: Sequence[Any]) -> str:
    """Read the answers to `commands`.

    Raises:
        RedisError: Redis was emptied just now; ask again.
    """
    _, marker, server = replies
    if marker is None:
        raise RedisError("Redis was emptied between two questions.")
    return f"{server['run_id'][:RUN_ID_CHARS]}.{marker.decode()}"


def current(client: Redis) -> str:
    """Ask which life this is."""
    return of([client.execute_command(*command) for command in commands()])
