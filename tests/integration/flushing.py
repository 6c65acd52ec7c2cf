"""A flusher at work on an event loop, for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import ParamSpec

from dev.testing.stack import Redis
from shared import events
from shared.events import Event
from shared.redis import redis_clients
from tests.integration.entries import EXPIRY_MS, JOB, started
from tests.writer_lease import WriterLease
from workers import clock
from workers.log.flusher import Flusher
from workers.log.job_log import JobLog

LEASE_SECONDS = 60.0
TICK_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.01
CANCEL_AGAIN_SECONDS = 0.1

P = ParamSpec("P")


def on_a_loop(scene: Callable[P, Coroutine[object, object, None]]) -> Callable[P, None]:
    """Run an asynchronous test; one that hangs fails."""

    @wraps(scene)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(scene(*args, **kwargs), PATIENCE_SECONDS))

    return run


@asynccontextmanager
async def flushing(server: Redis, *, tick_seconds: float = TICK_SECONDS, ticks: bool = True) -> AsyncIterator[Flusher]:
    """A flusher that runs, and ticks if it should."""
    client = redis_clients.nonblocking(server.url)
    flusher = Flusher(client, "worker_1", tick_seconds)
    tasks = [asyncio.create_task(work()) for work in (flusher.run, flusher.tick)[: 2 if ticks else 1]]
    try:
        yield flusher
        assert [task for task in tasks if task.done()] == []
    finally:
        while running := [task for task in tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=CANCEL_AGAIN_SECONDS)  # redis-py may have swallowed the cancel: see Loop.stop
        await client.aclose()


def opened(
    flusher: Flusher,
    job_id: str = JOB,
    *,
    attempt: int = 1,
    found: list[Event] | None = None,
    lease_seconds: float = LEASE_SECONDS,
    opening: Event | None = None,
) -> JobLog:
    """A log that the flusher writes."""
    lease = WriterLease(job_id, attempt, clock.seconds() + lease_seconds)
    log = JobLog(lease, found or [], expiry_ms=EXPIRY_MS)
    log.add(opening or started(attempt))
    flusher.add(log)
    return log


def lease_of(log: JobLog) -> WriterLease:
    """The lease that a log is written under, as tests may change it."""
    assert isinstance(log.lease, WriterLease)
    return log.lease


def say(flusher: Flusher, log: JobLog, count: int = 1) -> None:
    """Append some text."""
    for _ in range(count):
        log.append(events.DELTA, {"delta": {"content": f"{log.entries[-1].seq} "}})
        flusher.mark_pending(log)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(POLL_SECONDS)
    assert condition(), what
