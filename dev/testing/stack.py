"""The product's real processes, for tests to start, stop, kill and pause."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import redis

from dev.paths import ROOT
from dev.servers import redis_server

SECRET_KEY = "a-secret-key-for-tests-0123456789abcdef"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02
FIRST_PORT, PORTS, PORT_RANGES = 12_000, 2_500, 8

BIN = Path(sys.executable).parent

SHORT_LEASES = {"LEASE_SECONDS": "2", "RENEW_SECONDS": "0.5", "SWEEP_SECONDS": "0.5", "HEARTBEAT_SECONDS": "1"}
"""Settings that make a take-over fast enough for a test."""


def free_port() -> int:
    """Return a port that nobody listens on, and that nobody else gets before it is bound.

    Each of pytest's processes counts through a range of its own, below those from which systems assign ports by themselves.
    """
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _own_ports() -> Iterator[int]:
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PORT_RANGES
    first = FIRST_PORT + place * PORTS
    start = os.getpid() % PORTS  # two runs at the same time rarely begin at the same port
    return itertools.cycle([*range(first + start, first + PORTS), *range(first, first + start)])


_ports = _own_ports()


def wait_until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until a condition is true; fail after so many seconds, with what was waited for."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(POLL_SECONDS)


class Process:
    """One process in a group of its own, with its output in a file."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        """Start it."""
        self.name = name
        self.output = folder / f"{name}.log"
        with self.output.open("ab") as file:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Return its process id, which is its group's."""
        return self._process.pid

    def is_running(self) -> bool:
        """Return whether it has not ended."""
        return self._process.poll() is None

    def log(self) -> str:
        """Return what it has printed."""
        return self.output.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        if self.is_running():
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit code; kill it, and raise, if that takes too long."""
        self.signal(signal.SIGCONT)
        if self.is_running():
            self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Redis:
    """A Redis server of its own."""

    def __init__(self, folder: Path, *, persistent: bool = False) -> None:
        """Start it."""
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder / f"redis-{self.port}"
        self._folder.mkdir(parents=True)
        self._persistent = persistent
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        """Start it (again), with what it has on disk."""
        command = redis_server.command(self.port, self._folder, self._persistent)
        self.process = Process(f"redis-{self.port}", command, dict(os.environ), self._folder)
        wait_until(self._answers, "Redis to answer")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def remove_data(self) -> None:
        """Remove what the stopped server has on disk."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def close(self) -> None:
        """End it."""
        self.client.close()
        self.process.signal(signal.SIGCONT)
        self.process.kill()


class Stack:
    """A model, some API processes and some workers, on one Redis and one database."""

    def __init__(self, folder: Path, redis_url: str, database_url: str, **settings: str) -> None:
        """Migrate the database and start the model; the rest is started by name."""
        self.folder = folder
        self.model_port = free_port()
        self.model_url = f"http://127.0.0.1:{self.model_port}"
        self._processes: list[Process] = []
        self.webs: list[Process] = []
        self.workers: list[Process] = []
        self.urls: list[str] = []
        self.environment = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "SECRET_KEY": SECRET_KEY,
            "DATA_DIR": str(folder),
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "OPENAI_API_KEY": "built-in",
            "OPENAI_BASE_URL": f"{self.model_url}/v1",
            "DEFAULT_MODEL": "demo",
            "BIND_ADDRESS": "127.0.0.1",
            "WEB_CONCURRENCY": "1",
            "DRAIN_SECONDS": "2",
            "REGISTER_LIMIT": "100000 per hour",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "default",
            **settings,
        }
        self.model = self.start("model", [sys.executable, "-m", "dev.model", "--port", str(self.model_port)])
        migration = [str(BIN / "alembic"), "upgrade", "head"]
        subprocess.run(migration, cwd=ROOT, env=self.environment, check=True, capture_output=True, timeout=START_SECONDS)
        wait_until(lambda: is_up(f"{self.model_url}/healthz"), "the model")

    def start(self, name: str, command: list[str], **settings: str) -> Process:
        """Start any process in this stack's environment."""
        process = Process(name, command, {**self.environment, **settings}, self.folder)
        self._processes.append(process)
        return process

    def start_web(self, **settings: str) -> Process:
        """Start an API process, with the command of the Procfile, and wait until it answers."""
        port = free_port()
        self.urls.append(f"http://127.0.0.1:{port}")
        self.webs.append(self._web(port, **settings))
        return self.webs[-1]

    def restart_web(self, index: int) -> None:
        """Start an API process in place of a dead one, at the same address."""
        self.webs[index] = self._web(int(self.urls[index].rpartition(":")[2]))

    def _web(self, port: int, **settings: str) -> Process:
        command = [str(BIN / "gunicorn"), "-c", "gunicorn.conf.py", "api.app:create_app()"]
        web = self.start(f"web-{port}", command, PORT=str(port), **settings)
        wait_until(lambda: is_up(f"http://127.0.0.1:{port}/healthz"), "the API")
        return web

    def start_worker(self, *, wait: bool = True, **settings: str) -> Process:
        """Start a worker, with the command of the Procfile, and wait until it consumes."""
        name = f"worker-{len(self.workers)}"
        command = [str(BIN / "celery"), "-q", "-A", "workers.app", "worker", "--without-gossip", "--without-mingle", "-n", name]
        worker = self.start(name, command, **settings)
        self.workers.append(worker)
        if wait:
            wait_until(lambda: "ready." in worker.log(), f"{name} to consume")
        return worker

    @property
    def url(self) -> str:
        """Return the address of the first API process."""
        return self.urls[0]

    def stats(self) -> dict[str, object]:
        """Return the model's counters."""
        stats: dict[str, object] = httpx2.get(f"{self.model_url}/stats").json()
        return stats

    def close(self) -> None:
        """Kill all that was started."""
        for process in self._processes:
            process.signal(signal.SIGCONT)
            process.kill()


@contextmanager
def running(stack: Stack, *, webs: int = 1, workers: int = 1) -> Iterator[Stack]:
    """Start a stack's API processes and workers, and end everything at the end."""
    try:
        started = [stack.start_worker(wait=False) for _ in range(workers)]
        for _ in range(webs):
            stack.start_web()
        wait_until(lambda: all("ready." in worker.log() for worker in started), "the workers to consume")
        yield stack
    finally:
        stack.close()


def is_up(url: str) -> bool:
    """Return whether something answers at this URL."""
    try:
        return httpx2.get(url, timeout=2).status_code < 500
    except httpx2.HTTPError:
        return False
