"""Rates: how often somebody may do something. Counted in Redis, and in this process' memory while Redis is away."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog
from flask import Flask, Response, g
from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from shared import keyspace, redis_clients
from shared.config import Settings
from shared.errors import RateLimited

AWAY_SECONDS = 5.0
"""How long a Redis that did not answer is not asked again."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Limits:
    """All rates of one API process. A limit is a moving window: no burst at a window's edge."""

    def __init__(self, config: Settings) -> None:
        """Prepare; Redis need not be there."""
        pool = redis_clients.blocking(config.redis_url).connection_pool
        storage = RedisStorage(config.redis_url, pool, key_prefix=keyspace.LIMIT_PREFIX, wrap_exceptions=True)
        self._shared = MovingWindowRateLimiter(storage)
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._ask_again_at = 0.0
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._turns_lock = threading.Lock()
        self._login = parse(config.login_limit)
        self._submit = parse(config.submit_limit)

    def check_submission(self, user_id: str) -> None:
        """Count a submission, and tell the caller through the `RateLimit-*` headers where he stands.

        Raises:
            RateLimited: with the seconds until there is room again.
        """
        key = ("submit", user_id)
        allowed, (reset_at, remaining) = self._ask(_hit_and_look, self._submit, *key)
        reset_seconds = max(1, math.ceil(reset_at - time.time()))
        g.rate_limit = (self._submit.amount, max(0, remaining), reset_seconds)
        if not allowed:
            raise RateLimited(f"At most {self._submit} may be submitted.", retry_after_seconds=reset_seconds)

    @contextmanager
    def login_turn(self, name: str, address: str) -> Iterator[None]:
        """Let the logins of a name, and those from an address, in one after another: many at once would all pass the check."""
        with self._turn(f"name {name}"), self._turn(f"address {address}"):
            yield

    def _turn(self, key: str) -> threading.Lock:
        with self._turns_lock:
            return self._turns.setdefault(key, threading.Lock())

    def check_login(self, name: str, address: str) -> None:
        """Refuse a login whose name or address has failed too often.

        Raises:
            RateLimited: with the seconds until it may be tried again.
        """
        for key in (("login-name", name), ("login-address", address)):
            if not self._ask(MovingWindowRateLimiter.test, self._login, *key):
                raise RateLimited("Too many failed logins; try again later.", retry_after_seconds=self._login.get_expiry())

    def note_failed_login(self, name: str, address: str) -> None:
        """Count a failed login against the name and the address."""
        for key in (("login-name", name), ("login-address", address)):
            self._ask(MovingWindowRateLimiter.hit, self._login, *key)

    def _ask(self, question: Callable[..., T], item: RateLimitItem, *key: str) -> T:
        """Ask the counts that all processes share; while Redis is away, our own, so that it is not waited for at each question."""
        if time.monotonic() >= self._ask_again_at:
            try:
                return question(self._shared, item, *key)
            except StorageError as error:
                log.warning("limits.redis_away", error=str(error.storage_error))
                self._ask_again_at = time.monotonic() + AWAY_SECONDS
        return question(self._local, item, *key)


def _hit_and_look(rates: MovingWindowRateLimiter, item: RateLimitItem, *key: str) -> tuple[bool, tuple[float, int]]:
    """Count, and tell when the window is new again and how much is left of it."""
    return rates.hit(item, *key), rates.get_window_stats(item, *key)


def install(app: Flask) -> None:
    """Put the `RateLimit-*` headers on the answers of requests that were counted (IETF draft-ietf-httpapi-ratelimit-headers)."""

    def mark(response: Response) -> Response:
        if (standing := g.get("rate_limit")) is not None:
            names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
            response.headers.update({name: str(value) for name, value in zip(names, standing, strict=True)})
        return response

    app.after_request(mark)
