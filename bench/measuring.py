"""What the benchmarks share: a stack of real processes, their CPU time and memory, and percentiles."""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from dev.servers.postgres_server import PostgresServer
from dev.testing.stack import Process, Redis, Stack, free_port, is_up, running, wait_until

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
GENEROUS = {"SUBMIT_LIMIT": "1000000 per minute", "MAX_QUEUED_JOBS": "100000", "MAX_RUNNING_JOBS": "100000"}


class Bench:
    """A running stack with its Redis."""

    def __init__(self, stack: Stack, redis: Redis, model: Process) -> None:
        """Keep the stack, its Redis, and the model that answers."""
        self.stack = stack
        self.redis = redis
        self.model = model

    def processes(self) -> dict[str, Process]:
        """Return the processes whose cost is of interest, by name."""
        webs = {f"api {index}": web for index, web in enumerate(self.stack.webs)}
        workers = {f"worker {index}": worker for index, worker in enumerate(self.stack.workers)}
        return {**webs, **workers, "redis": self.redis.process, "model": self.model}


@contextmanager
def bench(
    *, webs: int = 1, workers: int = 1, postgres: bool = True, stand_in: bool = False, away_ms: float = 0, **settings: str
) -> Iterator[Bench]:
    """Start a stack on PostgreSQL (or SQLite) with limits that are out of the way.

    Args:
        webs: how many API processes.
        workers: how many workers.
        postgres: whether the database is PostgreSQL.
        stand_in: whether the model is the cheap one.
        away_ms: how far Redis and the database are away: what a round trip takes longer, milliseconds.
        settings: settings of all processes.
    """
    with tempfile.TemporaryDirectory() as name, _database(name, postgres) as database_url:
        folder = Path(name)
        redis = Redis(folder)
        try:
            stack = Stack(folder, redis.url, database_url, **{**GENEROUS, **settings})
            model = _stand_in(stack) if stand_in else stack.model
            for server in ("REDIS_URL", "DATABASE_URL") if away_ms else ():
                stack.environment[server] = _moved_away(stack, stack.environment[server], away_ms)
            with running(stack, webs=webs, workers=workers):
                yield Bench(stack, redis, model)
        finally:
            redis.close()


def _stand_in(stack: Stack) -> Process:
    """Start a cheap model, and let the processes that are started from now on ask it."""
    port = free_port()
    stack.environment["OPENAI_BASE_URL"] = f"http://127.0.0.1:{port}/v1"
    model = stack.start("stand-in", [sys.executable, "-m", "bench.servers.stand_in", "--port", str(port)])
    wait_until(lambda: is_up(f"http://127.0.0.1:{port}/v1/models"), "the stand-in model")
    return model


def _moved_away(stack: Stack, url: str, away_ms: float) -> str:
    """Start a proxy before a server, and return the URL by which the server is that far away."""
    near, far = urlsplit(url).port, free_port()
    command = [sys.executable, "-m", "bench.servers.delay", "--listen", str(far), "--to", str(near), "--ms", str(away_ms / 2)]
    stack.start(f"delay-{far}", command)
    wait_until(lambda: _accepts(far), "the delaying proxy")
    return url.replace(f":{near}", f":{far}")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def _database(folder: str, postgres: bool) -> Iterator[str]:
    if not postgres:
        yield f"sqlite:///{folder}/chatrelay.db"
        return
    with PostgresServer() as server:
        yield server.create_database()


def group(process: Process) -> list[int]:
    """Return the ids of a process and its children (Linux)."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except FileNotFoundError:
                continue
            if int(fields[2]) == process.pid:
                pids.append(int(entry.name))
    return pids


def cpu_seconds(process: Process) -> float:
    """Return the CPU seconds, user and system, of a process and its children."""
    ticks = 0
    for pid in group(process):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def resident_kib(process: Process) -> int:
    """Return the resident memory of a process and its children, KiB."""
    total = 0
    for pid in group(process):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of all values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(values: Sequence[float], unit: str) -> str:
    """Return median, p95, p99 and maximum as text."""
    shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    shown = ", ".join(f"{name} {percentile(values, share):.1f}" for name, share in shares)
    return f"{shown}, max {max(values):.1f} {unit} (n={len(values)})"
