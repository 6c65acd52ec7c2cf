"""The epoch of Redis: a word that changes when Redis is restarted, replaced or emptied.

A log that was written in another epoch may be short by what was not yet on disk, so only its owner's memory can be trusted then.
The word joins the server's own run id, which changes with every start; of a server that was promoted, its replication's id, which
changes with every promotion (and, elsewhere, when a first replica comes, which means nothing); and a random marker, which FLUSHALL
takes away.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from shared.redis import keyspace

MARKER_BYTES = 8
ID_CHARS = 16
NEVER_PROMOTED = -1
"""INFO's `second_repl_offset` of a server that was no other's replica before."""

COMMANDS: tuple[tuple[str, ...], ...] = (("GET", keyspace.EPOCH_KEY), ("INFO", "server"), ("INFO", "replication"))
"""The commands to send, in this order; `from_replies` reads the replies. None writes, so that a full Redis answers them, too."""


def mark_command() -> tuple[str, ...]:
    """Return the command that marks a new epoch, unless another process was faster."""
    return ("SET", keyspace.EPOCH_KEY, secrets.token_hex(MARKER_BYTES), "NX")


def from_replies(replies: Sequence[Any]) -> str | None:
    """Return the epoch, read from the replies to `COMMANDS`; None where it has not been marked yet."""
    marker, server, replication = replies
    if marker is None:
        return None
    was_promoted = replication.get("second_repl_offset", NEVER_PROMOTED) != NEVER_PROMOTED
    promotion = replication["master_replid"][:ID_CHARS] if was_promoted else ""
    return f"{server['run_id'][:ID_CHARS]}.{promotion}.{marker.decode()}"


def required(word: str | None) -> str:
    """Return the epoch that was read after the mark.

    Raises:
        RedisError: Redis was emptied in between; read again.
    """
    if word is None:
        raise RedisError("Redis was emptied between two commands.")
    return word


def current(client: Redis) -> str:
    """Read in which epoch Redis is, and begin one if it was emptied."""
    word = _read(client)
    if word is None:
        client.execute_command(*mark_command())
        word = _read(client)
    return required(word)


def _read(client: Redis) -> str | None:
    return from_replies([client.execute_command(*command) for command in COMMANDS])
