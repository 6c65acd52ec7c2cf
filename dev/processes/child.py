"""A running program and all that it starts: its output, its exit code, and that nothing of it is left."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from dev.processes.parent_death import tied_to_parent

POLL_SECONDS = 0.02
KILLED_SECONDS = 5.0
"""How long we wait for the kernel to remove what was killed."""

LAST_OUTPUT_SECONDS = 1.0
CHUNK_BYTES = 65_536

WriteLine = Callable[[str, str], None]


@dataclass(frozen=True)
class Program:
    """A command to run, and its name on the console."""

    name: str
    command: tuple[str, ...]


def shell(name: str, line: str) -> Program:
    """Return the program of a line of a Procfile. The shell expands the line and becomes the program, so that signals reach it."""
    return Program(name, ("sh", "-c", f"exec {line}"))


def describe(code: int) -> str:
    """Return an exit code in words."""
    return f"exit code {code}" + (f" ({signal.Signals(-code).name})" if code < 0 else "")


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield whole lines; one that never ends is cut into parts."""
    rest = b""
    while chunk := await stream.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > CHUNK_BYTES:
            whole, rest = [*whole, rest], b""
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


def _are_all_zombies(group: int) -> bool:
    """Return whether all of this process group are zombies: in some containers the first process never reaps them.

    Where there is no /proc (macOS) the system does not let us signal zombies, and the question does not arise.
    """
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, process_group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
            states += [state] if int(process_group) == group else []
    return bool(states) and set(states) == {"Z"}


class Child:
    """A program in a session and process group of its own, out of reach of the terminal's Ctrl-C."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: asyncio.ReadTransport, output: "asyncio.Task[None]") -> None:
        self._process = process
        self._pipe = pipe
        self._output = output

    @classmethod
    async def start(cls, program: Program, environment: Mapping[str, str], folder: Path, write_line: WriteLine) -> "Child":
        """Start the program in this folder, with exactly this environment."""
        # A pipe of our own: with asyncio's a program would not be over while one of its orphans holds the other end.
        reading, writing = os.pipe()
        stream = asyncio.StreamReader()
        with ExitStack() as undo, open(writing, "wb") as entrance:  # noqa: ASYNC230 - a pipe: opened at once
            pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb")
            )
            undo.callback(pipe.close)
            process = await asyncio.create_subprocess_exec(
                *tied_to_parent(program.command),
                env=environment,
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=entrance,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
            undo.pop_all()
        return cls(process, pipe, asyncio.create_task(_forward(stream, program.name, write_line)))

    async def exit_code(self) -> int:
        """Wait until the program itself is over, and return its exit code."""
        return await self._process.wait()

    def _signal(self, number: int) -> bool:
        """Send a signal to the whole group; return False when nobody is left. (macOS answers EPERM for a group of zombies.)"""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _is_gone(self) -> bool:
        return self._process.returncode is not None and (not self._signal(0) or _are_all_zombies(self._process.pid))

    async def _wait_gone(self, seconds: float, hurry: asyncio.Event | None = None) -> bool:
        deadline = time.monotonic() + seconds
        while not self._is_gone():
            if (hurry and hurry.is_set()) or time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def end(self, grace_seconds: float, hurry: asyncio.Event) -> None:
        """End the group: SIGTERM, a wait, then SIGKILL. Not to be cancelled: it is bounded; `hurry` cuts it short."""
        self._signal(signal.SIGTERM)
        if not await self._wait_gone(grace_seconds, hurry):
            self._signal(signal.SIGKILL)
            await self._wait_gone(KILLED_SECONDS)
        # The time-out is for a process that left the group and still holds the pipe.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_OUTPUT_SECONDS):
                await self._output
        self._pipe.close()


async def _forward(stream: asyncio.StreamReader, name: str, write_line: WriteLine) -> None:
    async for line in _lines(stream):
        write_line(name, line)
