"""The event loop in a thread of its own."""

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time

import pytest

from dev.paths import ROOT
from dev.testing.stack import wait_until
from workers.loop import STOP_SECONDS, Loop


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_a_thread_gets_the_result_or_the_error(loop: Loop) -> None:
    async def divide(by: int) -> float:
        await asyncio.sleep(0)
        return 1 / by

    assert loop.run(divide(2)) == 0.5
    with pytest.raises(ZeroDivisionError):
        loop.run(divide(0))
    loop.stop()


def test_it_shows_that_it_is_alive(loop: Loop) -> None:
    before = loop.ticked
    wait_until(lambda: loop.ticked > before, "a tick")
    loop.stop()


def test_a_function_is_called_on_the_loop(loop: Loop) -> None:
    called = threading.Event()
    loop.call(called.set)

    assert called.wait(5)
    loop.stop()


def test_what_was_started_is_kept_although_nothing_else_refers_to_it(loop: Loop) -> None:
    woken = threading.Event()

    async def wait_alone() -> None:
        # Given a future that only the coroutine's own frame refers to, so that both are garbage unless the loop keeps the task
        try:
            future = asyncio.Future[None]()
            waiting.set()
            await future
        finally:
            woken.set()

    waiting = threading.Event()
    loop.start(wait_alone())
    assert waiting.wait(5)
    loop.run(asyncio.sleep(0))
    gc.collect()
    assert not woken.is_set()
    loop.stop()


@pytest.mark.parametrize("ending", ["return", "raise Wrong", "raise asyncio.CancelledError"])
def test_what_ends_unasked_ends_the_process(ending: str) -> None:
    script = f"""
import asyncio, time
from workers.loop import Loop
class Wrong(Exception): pass
async def part():
    await asyncio.sleep(0)
    {ending}
loop = Loop()
loop.start(part())
time.sleep(20)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=15, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert b"loop.broken" in ended.stdout


def test_stopping_ends_what_still_runs_even_if_a_cancel_is_swallowed(loop: Loop) -> None:
    swallowed: list[int] = []

    async def stubborn() -> None:
        while len(swallowed) < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.append(1)
        await asyncio.sleep(60)

    loop.start(stubborn())
    loop.run(asyncio.sleep(0))
    before = time.monotonic()
    loop.stop()

    assert time.monotonic() - before < STOP_SECONDS - 0.5
    assert len(swallowed) == 2
    assert not loop._thread.is_alive()
