"""What REDIS_URL's user must be allowed to do, checked at the start: what is refused for good must not be waited for.

Each command is sent once, to a key of its own; Redis judges rights before anything else, so that a wrong type does not matter.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from shared.errors import ConfigurationError
from shared.redis import keyspace, redis_clients

KEY = keyspace.RIGHTS_KEY
COMMANDS: tuple[tuple[Any, ...], ...] = (
    *(("INFO", "server"), ("TIME",), ("PING",)),
    *(("SET", KEY, 1, "PX", 60_000), ("GET", KEY), ("MGET", KEY), ("EXISTS", KEY), ("PTTL", KEY), ("EXPIRE", KEY, 60)),
    *(("PEXPIRE", KEY, 60_000), ("INCRBY", KEY, 1), ("RENAME", KEY, KEY)),
    *(("LPUSH", KEY, 1), ("LLEN", KEY), ("LINDEX", KEY, 0), ("LTRIM", KEY, 0, 1), ("RPOP", KEY), ("BRPOP", KEY, 0.01)),
    *(("ZADD", KEY, 1, 1), ("ZRANGE", KEY, 0, 1), ("ZCOUNT", KEY, 0, 1), ("ZREM", KEY, 1)),
    *(("ZRANGEBYSCORE", KEY, 0, 1), ("ZREMRANGEBYSCORE", KEY, 0, 1)),
    *(("XADD", KEY, "*", "f", 1), ("XRANGE", KEY, "-", "+", "COUNT", 1), ("XREVRANGE", KEY, "+", "-", "COUNT", 1)),
    *(("XSETID", KEY, "1-0"), ("XDEL", KEY, "1-0"), ("XINFO", "STREAM", KEY)),
    *(("SADD", keyspace.BROKER_RIGHTS_KEY, 1), ("SMEMBERS", keyspace.BROKER_RIGHTS_KEY), ("SREM", keyspace.BROKER_RIGHTS_KEY, 1)),
    *(("PUBLISH", KEY, ""), ("EVAL", "return 1", 0), ("SCRIPT", "EXISTS", "0" * 40), ("MULTI",), ("DISCARD",)),
    ("DEL", KEY, keyspace.BROKER_RIGHTS_KEY),
)


def check(url: str) -> None:
    """Check the rights; a Redis that is away is left alone, since that passes.

    Raises:
        ConfigurationError: the password is wrong, or commands are missing, by their names.
    """
    with closing(redis_clients.subscriber(url)) as client:
        try:
            missing = sorted(set(_missing(client)))
        except AuthenticationError as error:
            raise ConfigurationError(f"REDIS_URL: Redis refuses the user or the password: {error}") from None
        except RedisError:
            return
    if missing:
        raise ConfigurationError(f"REDIS_URL: its user may not run {', '.join(missing)}; see docs/operations.md, section 2")


def _missing(client: Redis) -> Iterator[str]:
    for command in COMMANDS:
        try:
            client.execute_command(*command)
        except NoPermissionError:
            yield command[0]
        except AuthenticationError:
            raise
        except redis_clients.AWAY:
            return
        except RedisError:
            continue  # such as a wrong type, or a full memory: it may
