"""How we connect to Redis: one place for time-outs, retries and pools.

The library's own defaults (5 s socket time-out, ten retries, a pool that raises at its hundredth connection) break blocking reads
and make a dead Redis cost seconds per call; ours fail in well under a second, and wait for a free connection.
"""

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 2.0
POOL_CONNECTIONS = 64
POOL_WAIT_SECONDS = 5.0
RETRIES = 1
RETRY_BASE_SECONDS = 0.05
RETRY_CAP_SECONDS = 0.5
HEALTH_CHECK_SECONDS = 10

AWAY = (RedisConnectionError, RedisTimeoutError, ReadOnlyError)
"""What a command raises while Redis is away, loading, or failing over."""

__all__ = ["AWAY", "RedisError", "blocking", "nonblocking", "subscriber"]


def blocking(url: str) -> "redis.Redis":
    """Make the client that threads share: bounded, and it waits for a free connection."""
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=POOL_CONNECTIONS,
        timeout=POOL_WAIT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        health_check_interval=HEALTH_CHECK_SECONDS,
        # A cut connection is worth another try; a server that was silent for so long would only be silent again.
        retry=Retry(
            ExponentialWithJitterBackoff(base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS),
            RETRIES,
            supported_errors=(RedisConnectionError,),
        ),
    )
    return redis.Redis(connection_pool=pool)


def subscriber(url: str) -> "redis.Redis":
    """Make a client for one long-lived subscription: RESP2, which hiredis reads several times faster, and no retries of its own."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=CONNECT_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(ExponentialWithJitterBackoff(), 0),
    )


def nonblocking(url: str, *, answer_seconds: float | None = ANSWER_SECONDS) -> "redis.asyncio.Redis":
    """Make an event loop's client: bounded, and it waits for a free connection.

    It never repeats a command by itself: who writes a log must see every failure.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=POOL_CONNECTIONS,
        timeout=POOL_WAIT_SECONDS,
        socket_timeout=answer_seconds,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=AsyncRetry(ExponentialWithJitterBackoff(), 0),
    )
    return redis.asyncio.Redis.from_pool(pool)
