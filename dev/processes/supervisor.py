"""Keeps programs running: restarts those that die, and ends all of them."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dev.processes.child import Child, Program, WriteLine, describe

FIRST_DELAY_SECONDS = 0.25
LAST_DELAY_SECONDS = 5.0
STEADY_SECONDS = 10.0
"""A program that ran this long before it died is restarted after the shortest delay again."""

T = TypeVar("T")


async def _before(stop: asyncio.Event, work: Coroutine[Any, Any, T], seconds: float | None = None) -> T | None:
    """Return the work's result; None when `stop` was set, or the time was over, before it was done."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopped), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    result = working.result() if working.done() else None
    for task in (working, stopped):
        task.cancel()
    await asyncio.wait((working, stopped))
    return result


@dataclass(frozen=True)
class _Wave:
    """Programs that start and end together. The event stops their tasks, which are never cancelled: each has a child to end."""

    stop: asyncio.Event
    tasks: list["asyncio.Task[Any]"]


class Supervisor:
    """Runs programs in waves. The last wave is ended first, so that a worker can still reach Redis while it drains."""

    def __init__(self, write_line: WriteLine, environment: Mapping[str, str], folder: Path, grace_seconds: float) -> None:
        self._write_line = write_line
        self._environment = environment
        self._folder = folder
        self._grace_seconds = grace_seconds
        self._waves: list[_Wave] = []
        self._hurry = asyncio.Event()
        self.stopping = False

    def start(self, *programs: Program) -> None:
        """Start one wave of programs, and keep them running."""
        stop = asyncio.Event()
        self._waves.append(_Wave(stop, [asyncio.create_task(self._keep(program, stop)) for program in programs]))

    async def run(self, program: Program, seconds: float) -> int:
        """Run a program to its end and return its exit code.

        Raises:
            TimeoutError: it took longer than so many seconds, and was ended.
        """
        stop = asyncio.Event()
        task = asyncio.create_task(self._once(program, stop, seconds))
        self._waves.append(_Wave(stop, [task]))
        code = await asyncio.shield(task)
        if code is None:
            raise TimeoutError
        return code

    async def _start(self, program: Program) -> Child:
        return await Child.start(program, self._environment, self._folder, self._write_line)

    async def _once(self, program: Program, stop: asyncio.Event, seconds: float) -> int | None:
        child = await self._start(program)
        code = await _before(stop, child.exit_code(), seconds)
        await child.end(self._grace_seconds, self._hurry)
        return code

    async def _keep(self, program: Program, stop: asyncio.Event) -> None:
        """Run a program again and again, until `stop` is set. Nothing is left of one run when the next begins."""
        delay = FIRST_DELAY_SECONDS
        while not stop.is_set():
            child = await self._start(program)
            began = time.monotonic()
            code = await _before(stop, child.exit_code())
            if time.monotonic() - began >= STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            if code is not None and not stop.is_set():
                self._write_line(program.name, f"ended with {describe(code)}; starting it again in {delay:g} s")
            await child.end(self._grace_seconds, self._hurry)
            await _before(stop, asyncio.sleep(delay))
            delay = min(2 * delay, LAST_DELAY_SECONDS)

    async def wait(self) -> None:
        """Wait for ever; raise when a program cannot be started at all."""
        tasks = [task for wave in self._waves for task in wave.tasks]
        while tasks:
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            tasks = list(rest)

    async def stop(self) -> None:
        """End every program, the last wave first. Each wave has the grace period, then it is killed."""
        self.stopping = True
        while self._waves:
            wave = self._waves.pop()
            wave.stop.set()
            await asyncio.wait(wave.tasks)

    def hurry(self) -> None:
        """Kill at once whatever is still ending."""
        self._hurry.set()
