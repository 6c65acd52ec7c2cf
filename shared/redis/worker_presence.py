"""Which workers are alive: a sorted set by when each last showed itself, by Redis' clock (s)."""

from typing import Any

from redis import Redis

from shared.redis import keyspace

ALIVE_RENEWALS = 3
"""A worker that has not shown itself for so many renewals of leases is not ready."""
FORGOTTEN_SECONDS = 3_600


def note_commands(worker: str, now_seconds: int) -> tuple[tuple[Any, ...], ...]:
    """Return the commands that show that a worker is alive, and forget those that were not for an hour."""
    note = ("ZADD", keyspace.WORKERS_KEY, now_seconds, worker)
    return note, ("ZREMRANGEBYSCORE", keyspace.WORKERS_KEY, "-inf", now_seconds - FORGOTTEN_SECONDS)


def is_any_alive(redis: Redis, renew_seconds: float) -> bool:
    """Return whether a worker has shown itself lately; two round trips, however many keys there are."""
    now: Any = redis.time()
    alive: Any = redis.zcount(keyspace.WORKERS_KEY, int(now[0]) - ALIVE_RENEWALS * renew_seconds - 1, "+inf")
    return bool(alive)
