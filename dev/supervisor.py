"""Keeps programs running: hands on what they say, starts again what dies, and in the end leaves nothing behind."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dev.tether import tethered

FIRST_DELAY_SECONDS = 0.25
LAST_DELAY_SECONDS = 5.0
STEADY_SECONDS = 10.0
"""Who ran this long before it died is started again without the delay it had earned."""

POLL_SECONDS = 0.02
KILLED_SECONDS = 5.0
"""How long we wait for the kernel to clear away what was killed."""

LAST_WORDS_SECONDS = 1.0
CHUNK_BYTES = 65_536

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Program:
    """What to run, and the name it goes by."""

    name: str
    command: tuple[str, ...]


def shell(name: str, line: str) -> Program:
    """A line of a Procfile. The shell expands it and becomes the program, so that signals reach the program itself."""
    return Program(name, ("sh", "-c", f"exec {line}"))


def describe(code: int) -> str:
    """An exit code in words."""
    return f"exit code {code}" + (f" ({signal.Signals(-code).name})" if code < 0 else "")


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Whole lines; one that never ends is handed on in pieces."""
    rest = b""
    while chunk := await stream.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > CHUNK_BYTES:
            whole, rest = [*whole, rest], b""
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


class Child:
    """One running program and all that it starts: a process group of its own, out of reach of the terminal's Ctrl-C."""

    def __init__(self, process: asyncio.subprocess.Process, hand_on: Callable[[str], None]) -> None:
        self._process = process
        self._output = asyncio.create_task(self._read(hand_on))

    @classmethod
    async def start(cls, program: Program, environment: Mapping[str, str], folder: Path, say: Say) -> "Child":
        """Start the program in this folder, with this environment and nothing else."""
        process = await asyncio.create_subprocess_exec(
            *tethered(program.command),
            env=environment,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(process, lambda line: say(program.name, line))

    async def _read(self, hand_on: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        async for line in _lines(self._process.stdout):
            hand_on(line)

    async def exit_code(self) -> int:
        """Wait until the program itself is over."""
        return await self._process.wait()

    def _signal(self, number: int) -> bool:
        """Send it to the whole group; False when nobody is left. (macOS answers EPERM for a group of zombies.)"""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def _is_gone(self, seconds: float, hurry: asyncio.Event) -> bool:
        deadline = time.monotonic() + seconds
        while self._process.returncode is None or self._signal(0):
            if hurry.is_set() or time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def end(self, grace_seconds: float, hurry: asyncio.Event) -> None:
        """End what is left of the group: ask, wait, then kill."""
        self._signal(signal.SIGTERM)
        if not await self._is_gone(grace_seconds, hurry):
            self._signal(signal.SIGKILL)
            await self._is_gone(KILLED_SECONDS, asyncio.Event())
        # Cut short only if a process that left the group still holds the pipe.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._output, LAST_WORDS_SECONDS)


class Supervisor:
    """Runs programs in waves. What was started last is ended first, so that a worker can still reach Redis while it drains."""

    def __init__(self, say: Say, environment: Mapping[str, str], folder: Path, grace_seconds: float) -> None:
        self._say = say
        self._environment = environment
        self._folder = folder
        self._grace_seconds = grace_seconds
        self._waves: list[list[asyncio.Task[None]]] = []
        self._hurry = asyncio.Event()
        self.stopping = False

    def start(self, *programs: Program) -> None:
        """Start one wave, and keep it running."""
        self._waves.append([asyncio.create_task(self._keep(program)) for program in programs])

    async def run(self, program: Program, seconds: float) -> int:
        """Run a program to its end and give its exit code.

        Raises:
            TimeoutError: it took longer than this, and was ended.
        """
        child = await self._start(program)
        try:
            return await asyncio.wait_for(child.exit_code(), seconds)
        finally:
            await child.end(self._grace_seconds, self._hurry)

    async def _start(self, program: Program) -> Child:
        return await Child.start(program, self._environment, self._folder, self._say)

    async def _keep(self, program: Program) -> None:
        """Run it again and again, until cancelled; of each life nothing remains when the next one begins."""
        delay = FIRST_DELAY_SECONDS
        while True:
            child = await self._start(program)
            began = time.monotonic()
            try:
                code = await child.exit_code()
                if time.monotonic() - began >= STEADY_SECONDS:
                    delay = FIRST_DELAY_SECONDS
                self._say(program.name, f"ended with {describe(code)}; starting it again in {delay:g} s")
            finally:
                await child.end(self._grace_seconds, self._hurry)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_DELAY_SECONDS)

    async def wait(self) -> None:
        """Wait for ever, unless a program can no longer be started at all."""
        done, _ = await asyncio.wait([task for wave in self._waves for task in wave], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """End every program, the last wave first. Bounded: each wave has the grace, then it is killed."""
        self.stopping = True
        while self._waves:
            wave = self._waves.pop()
            for task in wave:
                task.cancel()
            await asyncio.wait(wave)

    def hurry(self) -> None:
        """Wait for nobody any more: kill."""
        self._hurry.set()
