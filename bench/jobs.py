"""What does a job cost, and how many end in a second? One-token jobs: `python -m bench.jobs [jobs] [at once] [ms away]`.

On PostgreSQL; with `ms away` a round trip to it or to Redis takes so much longer.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence

import orjson

from bench.load import Connection
from bench.measuring import Bench, bench, cpu_seconds, summary
from dev.testing.client import Client

JOBS = 1_000
AT_ONCE = 32
USERS = 50
SINGLE = 200
MODEL = "stand-in?tokens=1"


async def one_job(connection: Connection, body: dict[str, object]) -> float:
    """Submit a job and read its stream to the end; return the milliseconds that the POST took."""
    begun = time.monotonic()
    accepted = orjson.loads(await connection.post("/jobs", body))
    took_ms = (time.monotonic() - begun) * 1000
    async for _ in connection.lines(f"/jobs/{accepted['id']}/events"):
        pass
    return took_ms


async def _client(port: int, token: str, left: list[int], posts_ms: list[float], body: dict[str, object]) -> None:
    connection = await Connection.open(port, token)
    while left:
        left.pop()
        posts_ms.append(await one_job(connection, body))
    connection.close()


async def _run(port: int, tokens: Sequence[str], jobs: int, at_once: int, body: dict[str, object]) -> list[float]:
    left, posts_ms = [0] * jobs, list[float]()
    clients = [_client(port, tokens[number % len(tokens)], left, posts_ms, body) for number in range(at_once)]
    await asyncio.gather(*clients)
    return posts_ms


def measure(running: Bench, name: str, tokens: Sequence[str], jobs: int, at_once: int, body: dict[str, object]) -> None:
    """Run that many jobs, and print jobs a second and what each process spent on one."""
    port = int(running.stack.url.rpartition(":")[2])
    asyncio.run(_run(port, tokens, min(jobs, 100), at_once, body))
    before = {each: cpu_seconds(process) for each, process in running.processes().items()} | {"load": sum(os.times()[:2])}
    begun = time.monotonic()
    posts_ms = asyncio.run(_run(port, tokens, jobs, at_once, body))
    took = time.monotonic() - begun
    after = {each: cpu_seconds(process) for each, process in running.processes().items()} | {"load": sum(os.times()[:2])}
    spent = ", ".join(f"{each} {(after[each] - before[each]) / jobs * 1e3:.2f}" for each in before)
    print(f"{name}: {jobs / took:.0f} jobs/s; CPU ms a job: {spent}; POST {summary(posts_ms, 'ms')}", flush=True)


def main() -> None:
    """Measure with many users, and with one."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    at_once = int(sys.argv[2]) if len(sys.argv) > 2 else AT_ONCE
    body: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    turn: dict[str, object] = {"model": MODEL, "message": "Hello"}
    away_ms = float(sys.argv[3]) if len(sys.argv) > 3 else 0
    with bench(stand_in=True, away_ms=away_ms) as running:
        clients = [Client(running.stack.url) for _ in range(USERS)]
        tokens = [client.token for client in clients]
        measure(running, "50 users, whole context", tokens, jobs, at_once, body)
        measure(running, "50 users, new conversations", tokens, jobs, at_once, turn)
        measure(running, "one user, whole context", tokens[:1], jobs, at_once, body)
        measure(running, "one at a time", tokens, SINGLE, 1, body)
        for client in clients:
            client.close()


if __name__ == "__main__":
    main()
