"""One round of chaos: jobs that stream to live readers, a fault in mid-life, and the check that nothing was lost or doubled."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from dev.servers.postgres_server import PostgresServer
from dev.testing.client import Client, Reading, counted, read
from dev.testing.stack import SHORT_LEASES, Redis, Stack, running

JOBS = 12
TOKENS = 60
GAP_MS = 30
ROUND_SECONDS = 90.0
POLL_SECONDS = 0.01

Fault = Callable[["Arena"], None]


@dataclass
class Arena:
    """A stack with short leases that may be hurt, and what is needed to hurt it."""

    stack: Stack
    redis: Redis
    postgres: PostgresServer | None
    client: Client
    jobs: list[dict[str, Any]] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    @property
    def events_seen(self) -> int:
        """How many events the live readers of this round have seen."""
        return sum(len(reading.events) for reading in self.readings)

    def new_worker(self) -> None:
        """Start a worker in place of a dead one."""
        self.stack.start_worker()


@contextmanager
def arena(folder: Path, database_url: str, *, postgres: PostgresServer | None = None, **settings: str) -> Iterator[Arena]:
    """Start two API processes and two workers with short leases on a Redis of their own."""
    redis = Redis(folder, persistent=True)
    # Its one user does not log in again, however many rounds are played.
    lasting = {"ACCESS_TOKEN_SECONDS": "86400"}
    stack = Stack(folder, redis.url, database_url, **{**SHORT_LEASES, **lasting, **settings})
    try:
        with running(stack, webs=2, workers=2):
            client = Client(stack.url)
            yield Arena(stack, redis, postgres, client)
            client.close()
    finally:
        redis.close()


@dataclass(frozen=True)
class Round:
    """How a round goes.

    `at` says when the fault comes: after that share of all tokens was read; below 0: at once, before any claim. `jumps` says that
    the one legal jump of the sequence may be seen.
    """

    fault: Fault
    at: float = 0.4
    model: str = f"demo?tokens={TOKENS}&gap_ms={GAP_MS}&first_ms=200"
    jumps: bool = False
    jobs: int = JOBS
    prepare: Fault | None = None


def play(arena: Arena, plan: Round) -> None:
    """Play a round and check all that the product promises."""
    arena.jobs, arena.readings = [], []
    if plan.prepare:
        plan.prepare(arena)
    for _ in range(plan.jobs):
        arena.jobs.append({"asked": f"round {secrets.token_hex(8)}"})
        arena.jobs[-1] |= arena.client.submit(arena.jobs[-1]["asked"], model=plan.model)
    arena.readings = [Reading() for _ in arena.jobs]
    asyncio.run(_watch(arena, plan))
    _check(arena, plan)


async def _watch(arena: Arena, plan: Round) -> None:
    urls = arena.stack.urls
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None))
    async with session, asyncio.timeout(ROUND_SECONDS), asyncio.TaskGroup() as readers:
        for index, (job, reading) in enumerate(zip(arena.jobs, arena.readings, strict=True)):
            turn = urls[index % len(urls) :] + urls[: index % len(urls)]
            token = arena.client.token
            readers.create_task(
                read(turn, job["id"], token, session=session, reading=reading, seconds=ROUND_SECONDS), name=job["id"]
            )
        while arena.events_seen < plan.at * plan.jobs * TOKENS:
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.to_thread(plan.fault, arena)


def _check(arena: Arena, plan: Round) -> None:
    calls_by_key: dict[str, int] = arena.stack.stats()["by_key"]  # type: ignore[assignment]
    for job, live in zip(arena.jobs, arena.readings, strict=True):
        stored = arena.client.finished(job["id"])
        assert stored["status"] == "completed", stored
        assert live.text == counted(TOKENS)
        assert stored["text"] == live.text
        assert is_dense(live) or (plan.jumps and jumps_legally(live)), live.seqs
        late = arena.client.events(job["id"])
        # A later reader may lack what went with a Redis that lost everything together with the owner; never otherwise.
        assert late.events == live.events or (plan.jumps and late.text == live.text)
        calls = sum(count for key, count in calls_by_key.items() if job["asked"] in key)
        assert calls <= stored["attempt"], (calls, stored["attempt"])


def is_dense(reading: Reading) -> bool:
    """Whether every number came once, in order."""
    return reading.seqs == list(range(1, len(reading.seqs) + 1))


def jumps_legally(reading: Reading) -> bool:
    """Whether the only steps that are not one are announced as a lost log, and go forward."""
    steps = zip(reading.events, reading.events[1:], strict=False)
    return all(
        after["seq"] == before["seq"] + 1
        or (after["seq"] > before["seq"] and after["type"] == "restarted" and after["reason"] == "log_lost")
        for before, after in steps
    )
