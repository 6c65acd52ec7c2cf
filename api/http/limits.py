"""Limit rates: how often a user may submit and a login may fail. Counted in Redis; in this process' memory while Redis is away."""

import ipaddress
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import structlog
from flask import Flask, Response, g
from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from shared.config import Settings
from shared.errors import RateLimited
from shared.redis import keyspace, redis_clients

AWAY_SECONDS = 5.0
"""How long Redis is left alone after it did not answer."""

HIT_SCRIPT = Path(__file__).with_name("rate.lua").read_text(encoding="utf-8")
"""Counts one hit; `rate.lua` says how, and lists its arguments and its answer."""

NAMES_PER_ADDRESS = 10
"""How many times LOGIN_LIMIT one address may fail: an office is one address."""
IPV6, IPV6_BITS = 6, 64

T = TypeVar("T")

log = structlog.get_logger(__name__)


class _Hit(NamedTuple):
    """Whether a hit was counted, how many are left, and how long until the oldest one counts no more."""

    is_allowed: bool
    left: int
    wait_seconds: float


@dataclass
class Guess:
    """One try at a password; who checks it says whether it was right."""

    is_right: bool = False


class Limits:
    """All rates of one API process. A limit is a window that moves, so that there is no burst at a window's edge."""

    def __init__(self, config: Settings) -> None:
        """Parse the limits of the settings. Redis is not called yet, and need not be there."""
        client = redis_clients.blocking(config.redis_url)
        storage = RedisStorage(config.redis_url, client.connection_pool, key_prefix=keyspace.LIMIT_PREFIX, wrap_exceptions=True)
        self._shared = MovingWindowRateLimiter(storage)
        self._hit_script = client.register_script(HIT_SCRIPT)
        self._local: MovingWindowRateLimiter | None = None
        self._redis_again_at = 0.0
        self._login_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._login = parse(config.login_limit)
        self._login_of_address = type(self._login)(self._login.amount * NAMES_PER_ADDRESS, self._login.multiples)
        self._register = parse(config.register_limit)
        self._submit = parse(config.submit_limit)

    def check_submission(self, user_id: str) -> None:
        """Count a submission, and keep for the `RateLimit-*` headers what is left of the user's limit.

        Raises:
            RateLimited: with the seconds until there is room again.
        """
        hit = self._hit_submission(user_id)
        reset_seconds = max(1, math.ceil(hit.wait_seconds))
        g.rate_limit = (self._submit.amount, max(0, hit.left), reset_seconds)
        if not hit.is_allowed:
            raise RateLimited(f"At most {self._submit} may be submitted.", retry_after_seconds=reset_seconds)

    def _hit_submission(self, user_id: str) -> "_Hit":
        """Count a submission in one round trip; in this process' memory, without waiting, while Redis is away."""
        if time.monotonic() >= self._redis_again_at:
            try:
                return self._hit(keyspace.submissions_key(user_id))
            except RedisError as error:
                self._leave_redis_alone(error)
        key = ("submit", user_id)
        allowed, (reset_at, remaining) = _hit_and_look(self._in_memory(), self._submit, *key)
        return _Hit(allowed, remaining, reset_at - time.time())

    def _hit(self, key: str) -> "_Hit":
        reply: Any = self._hit_script(keys=[key], args=[self._submit.amount, self._submit.get_expiry() * 1000])
        allowed, left, wait_ms = reply
        return _Hit(bool(allowed), int(left), int(wait_ms) / 1000)

    @contextmanager
    def guess(self, name: str, address: str) -> Iterator["Guess"]:
        """Let a password be checked, one at a time from an address, since many at once would all be let through; count a wrong one.

        Raises:
            RateLimited: the name, from this address, or the address has failed too often; with the seconds until it may try again.
        """
        guess, keys = Guess(), self._login_keys(name, network(address))
        with self._login_lock(network(address)):
            if not all(self._count(MovingWindowRateLimiter.test, item, *key) for item, *key in keys):
                raise RateLimited("Too many failed logins; try again later.", retry_after_seconds=self._login.get_expiry())
            yield guess
            if not guess.is_right:
                for item, *key in keys:
                    self._count(MovingWindowRateLimiter.hit, item, *key)

    def _login_lock(self, key: str) -> threading.Lock:
        with self._lock:
            return self._login_locks.setdefault(key, threading.Lock())

    def _login_keys(self, name: str, address: str) -> tuple[tuple[RateLimitItem, str, *tuple[str, ...]], ...]:
        """Return what a failed login is counted by. A name is none by itself: a stranger could lock its owner out."""
        return (self._login, "login-name", name, address), (self._login_of_address, "login-address", address)

    def check_registration(self, address: str) -> None:
        """Count an account that is made from an address.

        Raises:
            RateLimited: it has made too many; with the seconds until it may be tried again.
        """
        if not self._count(MovingWindowRateLimiter.hit, self._register, "register", network(address)):
            raise RateLimited("Too many accounts were made from here.", retry_after_seconds=self._register.get_expiry())

    def _count(self, operation: Callable[..., T], item: RateLimitItem, *key: str) -> T:
        """Apply an operation to the counts that all processes share; to this process' own, without waiting, while Redis is away."""
        if time.monotonic() >= self._redis_again_at:
            try:
                return operation(self._shared, item, *key)
            except StorageError as error:
                self._leave_redis_alone(error.storage_error)
        return operation(self._in_memory(), item, *key)

    def _leave_redis_alone(self, error: Exception) -> None:
        log.warning("limits.redis_away", error=str(error))
        self._redis_again_at = time.monotonic() + AWAY_SECONDS

    def _in_memory(self) -> MovingWindowRateLimiter:
        """Return this process' own counts, made when they are first needed, since their storage starts a thread."""
        with self._lock:
            if self._local is None:
                self._local = MovingWindowRateLimiter(MemoryStorage())
            return self._local


def network(address: str) -> str:
    """Return what counts as one address: of IPv6 the first 64 bits, since who has one address has all behind them."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, IPV6_BITS), strict=False)) if parsed.version == IPV6 else address


def _hit_and_look(rates: MovingWindowRateLimiter, item: RateLimitItem, *key: str) -> tuple[bool, tuple[float, int]]:
    """Count; return whether it was allowed, and when (Unix time) the window is reset and how much is left of it."""
    return rates.hit(item, *key), rates.get_window_stats(item, *key)


def install(app: Flask) -> None:
    """Put the `RateLimit-*` headers on responses to requests that were counted (IETF draft-ietf-httpapi-ratelimit-headers)."""

    def mark(response: Response) -> Response:
        if (rate_limit := g.get("rate_limit")) is not None:
            names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
            response.headers.update({name: str(value) for name, value in zip(names, rate_limit, strict=True)})
        return response

    app.after_request(mark)
