"""What the probes of a container see: a worker whose Redis is away lives, one whose consumer stands still does not."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from dev.paths import ROOT
from dev.testing.stack import Redis, Stack, free_port, running, wait_until

FEW_LINES = 60
"""Of a start, and of 22 seconds without Redis."""


@pytest.fixture
def redis_to_stop(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path, persistent=True)
    yield server
    server.close()


def health(stack: Stack) -> int:
    probe = [sys.executable, "-m", "workers.health", str(stack.folder)]
    return subprocess.run(probe, cwd=ROOT, capture_output=True, check=False, timeout=10).returncode


def alive_file(stack: Stack) -> Path:
    (found,) = stack.folder.glob("worker-*.alive")
    return found


def test_a_worker_whose_redis_is_away_is_alive(tmp_path: Path, redis_to_stop: Redis) -> None:
    folder = tmp_path / "stack"
    folder.mkdir()
    with running(Stack(folder, redis_to_stop.url, f"sqlite:///{folder / 'x.db'}"), webs=0) as stack:
        assert health(stack) == 0
        redis_to_stop.process.kill()
        gone = time.time()
        # Longer than a consumer may be silent while Redis is there
        wait_until(lambda: alive_file(stack).stat().st_mtime > gone + 22, "the worker to show itself without Redis", 40)
        assert health(stack) == 0
        lines = stack.workers[0].log().splitlines()
        assert all(isinstance(json.loads(line)["level"], str) for line in lines)
        assert len(lines) < FEW_LINES

        stack.workers[0].signal(signal.SIGSTOP)
        stopped = alive_file(stack).stat().st_mtime
        wait_until(lambda: time.time() > stopped + 31, "half a minute of silence", 40)
        assert health(stack) == 1


def test_a_host_without_a_worker_is_not_alive(tmp_path: Path) -> None:
    probe = [sys.executable, "-m", "workers.health", str(tmp_path)]
    assert subprocess.run(probe, cwd=ROOT, capture_output=True, check=False, timeout=10).returncode == 1


@pytest.mark.parametrize("address", ["::1", "::"])
def test_the_api_listens_on_ipv6(tmp_path: Path, redis_server: Redis, address: str) -> None:
    stack = Stack(tmp_path, redis_server.url, f"sqlite:///{tmp_path / 'x.db'}")
    try:
        port = free_port()
        command = [str(Path(sys.executable).parent / "gunicorn"), "-c", "gunicorn.conf.py", "api.app:create_app()"]
        stack.start("web", command, PORT=str(port), BIND_ADDRESS=address)
        wait_until(lambda: _answers(f"http://[::1]:{port}/healthz"), "the API")
    finally:
        stack.close()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False
