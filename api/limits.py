"""Rates: how often somebody may do something. Counted in Redis, and in this process' memory while Redis is away."""

import structlog
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
