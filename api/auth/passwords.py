"""Passwords, kept as Argon2 hashes."""

from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool

P = ParamSpec("P")
R = TypeVar("R")

HASHES_AT_ONCE = 4
"""Each takes a core, and 64 MiB."""

_hasher = PasswordHasher()


def hashed(password: str) -> str:
    """Hash a password, with the library's current recommendation; one after the other, so that no log-in waits for many."""
    return _aside(_registering, _hasher.hash, password)


NOBODYS_HASH = _hasher.hash("nobody's password")
"""Verified against when there is no such user, so that the time it takes says nothing."""


def matches(password_hash: str, password: str) -> bool:
    """Return whether a password is the one that was hashed."""
    return _aside(_verifying, _verified, password_hash, password)


def _verified(password_hash: str, password: str) -> bool:
    """Verify; what is raised in gevent's threads is also printed."""
    try:
        return _hasher.verify(password_hash, password)
    except VerificationError:
        return False


@cache
def _verifying() -> ThreadPool:
    """Threads for passwords alone: gevent's own also resolve names."""
    return ThreadPool(HASHES_AT_ONCE)


@cache
def _registering() -> ThreadPool:
    return ThreadPool(1)


def _aside(pool: Callable[[], ThreadPool], work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run heavy work in a real thread where threads are greenlets, since it would hold up every stream of the process."""
    if is_module_patched("threading"):
        result: R = pool().apply(work, args, kwargs)
        return result
    return work(*args, **kwargs)
