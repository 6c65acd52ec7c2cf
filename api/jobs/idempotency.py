"""The same request again is the same job: by a key of the client's own, or by what the official SDK sends with its retries.

What was asked under a key is compared by a digest of what the client sent. A digest begins with the version of the way it is made;
one of another version cannot be compared, and then the key alone decides, so that no release turns replays into conflicts.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from shared.database import now_ms
from shared.errors import Conflict, InvalidRequest
from shared.models import IdempotencyKey, Job
from shared.models.job import HASH_CHARS, KEY_CHARS, KEY_SECONDS

GRACE_SECONDS = 60.0
"""How much later than its patience ends an SDK's next try may come: it waits 8 s at most between two, and the way takes time."""
MAX_PATIENCE_SECONDS = 3600.0
VERSION = "2:"


@dataclass(frozen=True)
class Retry:
    """Which try of a request this is (0: the first), as the SDK counts them, and how long it waits for an answer."""

    count: int
    patience_seconds: float


@dataclass(frozen=True)
class Key:
    """By what a request is known again, and for how long; `digest` is of what the client sent.

    With `renews` it is the first try of a request: what the key stood for before was another one that happened to be the same.
    """

    name: str
    digest: str
    seconds: float = KEY_SECONDS
    renews: bool = False


def key_of(name: str | None, digest: Callable[[], str], retry: Retry | None = None) -> Key | None:
    """Return the key of a request; None where it has none.

    Args:
        name: what the client sent as `Idempotency-Key`, None where it sent none.
        digest: makes the hexadecimal digest of what the client sent; asked only where it is needed.
        retry: which try it is, where a client that sends no key counts them.

    Raises:
        InvalidRequest: the name is empty or too long.
    """
    if name is None:
        return None if retry is None else _of_retry(retry, _versioned(digest()))
    if not 0 < len(name) <= KEY_CHARS:
        raise InvalidRequest(f"An idempotency key has 1 to {KEY_CHARS} characters.", param="Idempotency-Key")
    return Key(name, _versioned(digest()))


def _versioned(digest: str) -> str:
    return (VERSION + digest)[:HASH_CHARS]


def _of_retry(retry: Retry, digest: str) -> Key:
    seconds = min(retry.patience_seconds, MAX_PATIENCE_SECONDS) + GRACE_SECONDS
    return Key(f"sdk:{digest}", digest, seconds, renews=retry.count == 0)


def replayed(session: Session, user_id: str, key: Key) -> Job | None:
    """Return the job that a key stands for; None where it stands for nothing, or its time is over.

    Raises:
        Conflict: it stands for another request.
    """
    if key.renews:
        return None
    mine = IdempotencyKey.user_id == user_id, IdempotencyKey.key == key.name
    known = session.scalar(select(IdempotencyKey).where(*mine, IdempotencyKey.created_ms >= _since(key)))
    if known is None:
        return None
    if known.body_hash.startswith(VERSION) and known.body_hash != key.digest:
        raise Conflict("This key was used for another request.", param="Idempotency-Key", code="idempotency_key_reused")
    return session.get(Job, known.job_id)


def forget(session: Session, user_id: str, key: Key) -> None:
    """Let a key stand for nothing, where its time is over or the request begins anew."""
    former = delete(IdempotencyKey).where(IdempotencyKey.user_id == user_id, IdempotencyKey.key == key.name)
    if not key.renews:
        former = former.where(IdempotencyKey.created_ms < _since(key))
    session.execute(former)


def _since(key: Key) -> ColumnElement[int]:
    return now_ms() - int(key.seconds * 1000)
