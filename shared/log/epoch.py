"""Which life of Redis this is: a word that changes when Redis is restarted, replaced or emptied.

A log that was written in another life may be short by what was not yet on disk, so only its owner's memory can be trusted then. The
word joins the server's own run id, which changes with every start; of a server that was promoted, its replication's id, which
changes with every promotion (and, elsewhere, when a first replica comes, which means nothing); and a random marker, which FLUSHALL
takes away.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from shared import keyspace

MARKER_BYTES = 8
ID_CHARS = 16
NEVER_PROMOTED = -1
"""INFO's `second_repl_offset` of a server that was no other's replica before."""

QUESTIONS: tuple[tuple[str, ...], ...] = (("GET", keyspace.EPOCH_KEY), ("INFO", "server"), ("INFO", "replication"))
"""What to ask, in this order; `of` reads the answers. A Redis that is too full to write answers all the same."""


def mark() -> tuple[str, ...]:
    """Make the command that marks a new life, unless somebody was faster."""
    return ("SET", keyspace.EPOCH_KEY, secrets.token_hex(MARKER_BYTES), "NX")


def of(replies: Sequence[Any]) -> str | None:
    """Read the answers to `QUESTIONS`; None where this life has not been marked yet."""
    marker, server, replication = replies
    if marker is None:
        return None
    was_promoted = replication.get("second_repl_offset", NEVER_PROMOTED) != NEVER_PROMOTED
    promotion = replication["master_replid"][:ID_CHARS] if was_promoted else ""
    return f"{server['run_id'][:ID_CHARS]}.{promotion}.{marker.decode()}"


def sure(word: str | None) -> str:
    """Insist on a word.

    Raises:
        RedisError: Redis was emptied between two questions; ask again.
    """
    if word is None:
        raise RedisError("Redis was emptied between two questions.")
    return word


def current(client: Redis) -> str:
    """Ask which life this is."""
    word = _asked(client)
    if word is None:
        client.execute_command(*mark())
        word = _asked(client)
    return sure(word)


def _asked(client: Redis) -> str | None:
    return of([client.execute_command(*question) for question in QUESTIONS])
