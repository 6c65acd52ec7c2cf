"""Which foreground answers have readers: a sorted set of jobs by when somebody last read them, by Redis' clock.

An API process notes its readers every few seconds; a job that nobody has noted for a while is abandoned, whichever process its last
reader left, and however that process ended.
"""

from collections.abc import Iterable
from typing import Any

from redis import Redis

from shared.redis import keyspace

MAX_AT_ONCE = 100
"""How many abandoned jobs are taken in one look."""


def note(redis: Redis, job_ids: Iterable[str], *, only_known: bool = False) -> None:
    """Note that these jobs are read now; `only_known`: those of them that were noted before."""
    members = list(job_ids)
    if members and not (only_known and not redis.exists(keyspace.READERS_KEY)):
        now = _now(redis)
        redis.zadd(keyspace.READERS_KEY, dict.fromkeys(members, now), xx=only_known)


def forget(redis: Redis, job_ids: Iterable[str]) -> None:
    """Note that these jobs need no reader any more."""
    if members := list(job_ids):
        redis.zrem(keyspace.READERS_KEY, *members)


def abandoned(redis: Redis, seconds: float) -> list[str]:
    """Return jobs, the longest abandoned first, that nobody has read for so long; one round trip where nobody reads anything."""
    oldest: Any = redis.zrange(keyspace.READERS_KEY, 0, 0)
    if not oldest:
        return []
    until = _now(redis) - seconds
    found: Any = redis.zrangebyscore(keyspace.READERS_KEY, "-inf", until, start=0, num=MAX_AT_ONCE)
    return [job_id.decode() for job_id in found]


def _now(redis: Redis) -> float:
    time: Any = redis.time()
    return float(time[0]) + float(time[1]) / 1_000_000
