"""One running program and all that it starts: what it says, how it ends, and that nothing of it is left."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from dev.tether import tethered

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


def _are_all_zombies(group: int) -> bool:
    """Whether everybody in this process group is dead and only not yet collected: in some containers the first process never does.

    Where there is no /proc (macOS) the system does not let us signal zombies, and the question does not arise.
    """
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, members_group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
            states += [state] if int(members_group) == group else []
    return bool(states) and set(states) == {"Z"}


class Child:
    """A program in a session and process group of its own, out of reach of the terminal's Ctrl-C."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: asyncio.ReadTransport, output: "asyncio.Task[None]") -> None:
        self._process = process
        self._pipe = pipe
        self._output = output

    @classmethod
    async def start(cls, program: Program, environment: Mapping[str, str], folder: Path, say: Say) -> "Child":
        """Start the program in this folder, with this environment and nothing else."""
        # A pipe of our own: asyncio's would keep a program from being over for as long as an orphan of it holds the other end.
        reading, writing = os.pipe()
        stream = asyncio.StreamReader()
        with ExitStack() as undo, open(writing, "wb") as entrance:
            pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb")
            )
            undo.callback(pipe.close)
            process = await asyncio.create_subprocess_exec(
                *tethered(program.command),
                env=environment,
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=entrance,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
            undo.pop_all()
        return cls(process, pipe, asyncio.create_task(_hand_on(stream, program.name, say)))

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
        """End what is left of the group: ask, wait, then kill. Not to be cancelled: it is bounded, and `hurry` cuts it short."""
        self._signal(signal.SIGTERM)
        if not await self._wait_gone(grace_seconds, hurry):
            self._signal(signal.SIGKILL)
            await self._wait_gone(KILLED_SECONDS)
        # Cut short only if a process that left the group still holds the pipe.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._output
        self._pipe.close()


async def _hand_on(stream: asyncio.StreamReader, name: str, say: Say) -> None:
    async for line in _lines(stream):
        say(name, line)
