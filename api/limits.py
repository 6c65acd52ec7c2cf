"""Rates: how often somebody may do something. Counted in Redis, and in this process' memory while Redis is away."""

import math
import time

import structlog
from flask import Flask, Response, g
from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from shared import keyspace
from shared.config import Settings
from shared.errors import RateLimited
from shared.redis_clients import ANSWER_SECONDS, CONNECT_SECONDS

log = structlog.get_logger(__name__)


class Limits:
    """All rates of one API process. A limit is a moving window: no burst at a window's edge."""

    def __init__(self, config: Settings) -> None:
        """Prepare; Redis need not be there."""
        storage = storage_from_string(
            config.redis_url,
            key_prefix=keyspace.LIMIT_PREFIX,
            wrap_exceptions=True,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
        )
        self._shared = MovingWindowRateLimiter(storage)
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._login = parse(config.login_limit)
        self._submit = parse(config.submit_limit)

    def check_submission(self, user_id: str) -> None:
        """Count a submission, and tell the caller through the `RateLimit-*` headers where he stands.

        Raises:
            RateLimited: with the seconds until there is room again.
        """
        key = ("submit", user_id)
        allowed = self._hit(self._submit, *key)
        reset_at, remaining = self._window(self._submit, *key)
        reset_seconds = max(1, math.ceil(reset_at - time.time()))
        g.rate_limit = (self._submit.amount, max(0, remaining), reset_seconds)
        if not allowed:
            raise RateLimited(f"At most {self._submit} may be submitted.", retry_after_seconds=reset_seconds)

    def check_login(self, name: str, address: str) -> None:
        """Refuse a login whose name or address has failed too often.

        Raises:
            RateLimited: with the seconds until it may be tried again.
        """
        for key in (("login-name", name), ("login-address", address)):
            if not self._test(self._login, *key):
                raise RateLimited("Too many failed logins; try again later.", retry_after_seconds=self._login.get_expiry())

    def note_failed_login(self, name: str, address: str) -> None:
        """Count a failed login against the name and the address."""
        for key in (("login-name", name), ("login-address", address)):
            self._hit(self._login, *key)

    def _window(self, item: RateLimitItem, *key: str) -> tuple[float, int]:
        try:
            return self._shared.get_window_stats(item, *key)
        except StorageError:
            return self._local.get_window_stats(item, *key)

    def _test(self, item: RateLimitItem, *key: str) -> bool:
        try:
            return self._shared.test(item, *key)
        except StorageError as error:
            log.warning("limits.redis_away", error=str(error.storage_error))
            return self._local.test(item, *key)

    def _hit(self, item: RateLimitItem, *key: str) -> bool:
        try:
            return self._shared.hit(item, *key)
        except StorageError as error:
            log.warning("limits.redis_away", error=str(error.storage_error))
            return self._local.hit(item, *key)


def install(app: Flask) -> None:
    """Put the `RateLimit-*` headers on the answers of requests that were counted (IETF draft-ietf-httpapi-ratelimit-headers)."""

    def mark(response: Response) -> Response:
        if (standing := g.get("rate_limit")) is not None:
            names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
            response.headers.update({name: str(value) for name, value in zip(names, standing, strict=True)})
        return response

    app.after_request(mark)
