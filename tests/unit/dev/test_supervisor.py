"""The supervisor: what dies comes back, what it starts never outlives it, and every line has a speaker."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from dev.processes import procfile
from dev.processes.child import CHUNK_BYTES, Program, describe, shell
from dev.processes.console import Console
from dev.processes.supervisor import Supervisor

PATIENCE_SECONDS = 10.0
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.01

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
PARENT = "sleep 1000 & echo grandchild $!; wait"


class Stage:
    """A supervisor, and what its programs said."""

    def __init__(self, grace_seconds: float = GRACE_SECONDS) -> None:
        self.lines_written: list[tuple[str, str]] = []
        self.supervisor = Supervisor(
            lambda name, text: self.lines_written.append((name, text)), {"PATH": os.environ["PATH"]}, Path.cwd(), grace_seconds
        )

    def lines(self, part: str) -> list[str]:
        return [text for _, text in self.lines_written if part in text]

    async def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; so far: {self.lines_written}"
            await asyncio.sleep(POLL_SECONDS)


def sh(script: str, name: str = "it") -> Program:
    return Program(name, ("sh", "-c", script))


def perform(play: Callable[[Stage], Coroutine[Any, Any, None]], grace_seconds: float = GRACE_SECONDS) -> Stage:
    """Run a play on a stage; afterwards everything is stopped."""

    async def whole() -> Stage:
        stage = Stage(grace_seconds)
        try:
            await play(stage)
        finally:
            await stage.supervisor.stop()
        return stage

    return asyncio.run(whole())


def is_running(pid: int) -> bool:
    """Whether it runs; a zombie that nobody collects does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def grandchildren(stage: Stage) -> list[int]:
    return [int(line.split()[1]) for line in stage.lines("grandchild")]


def test_a_program_that_dies_is_started_again_and_one_line_says_so() -> None:
    async def play(stage: Stage) -> None:
        stage.supervisor.start(sh("echo alive; exit 3", "fickle"))
        await stage.until(lambda: len(stage.lines("alive")) == 3)

    stage = perform(play)

    restarts = [(name, text) for name, text in stage.lines_written if "starting it again" in text]
    assert restarts[:2] == [
        ("fickle", "ended with exit code 3; starting it again in 0.25 s"),
        ("fickle", "ended with exit code 3; starting it again in 0.5 s"),
    ]


def test_a_signal_is_told_by_its_name() -> None:
    async def play(stage: Stage) -> None:
        stage.supervisor.start(sh("kill -9 $$"))
        await stage.until(lambda: stage.lines("starting it again"))

    assert "exit code -9 (SIGKILL)" in perform(play).lines("starting it again")[0]


def test_what_a_dead_program_left_behind_is_ended_before_it_comes_back() -> None:
    async def play(stage: Stage) -> None:
        stage.supervisor.start(sh("sleep 1000 & echo grandchild $!; exit 1"))
        await stage.until(lambda: len(grandchildren(stage)) == 2)
        assert not is_running(grandchildren(stage)[0])

    assert not is_running(grandchildren(perform(play))[1])


def test_stopping_while_orphans_are_being_ended_leaves_none() -> None:
    async def play(stage: Stage) -> None:
        stage.supervisor.start(sh(f"({STUBBORN}) & echo grandchild $!; sleep 0.2; exit 1"))
        await stage.until(lambda: stage.lines("starting it again"))

    stage = perform(play, grace_seconds=0.2)

    assert len(grandchildren(stage)) == 1
    assert not is_running(grandchildren(stage)[0])


def test_stopping_leaves_nothing_not_even_grandchildren() -> None:
    async def play(stage: Stage) -> None:
        stage.supervisor.start(sh(PARENT, "one"), sh(PARENT, "two"))
        await stage.until(lambda: len(grandchildren(stage)) == 2)
        assert all(is_running(pid) for pid in grandchildren(stage))

    stage = perform(play)

    assert [pid for pid in grandchildren(stage) if is_running(pid)] == []
    assert stage.lines("starting it again") == []


def test_who_ignores_the_request_is_killed_after_the_grace() -> None:
    async def play(stage: Stage) -> None:
        stage.supervisor.start(sh(f"echo grandchild $$; {STUBBORN}"))
        await stage.until(lambda: stage.lines("ready"))

    began = time.monotonic()
    stage = perform(play, grace_seconds=0.3)

    assert 0.3 <= time.monotonic() - began < PATIENCE_SECONDS
    assert not is_running(grandchildren(stage)[0])


def test_in_a_hurry_nobody_is_waited_for() -> None:
    async def play(stage: Stage) -> None:
        stage.supervisor.start(sh(STUBBORN))
        await stage.until(lambda: stage.lines("ready"))
        asyncio.get_running_loop().call_later(0.05, stage.supervisor.hurry)

    began = time.monotonic()
    perform(play, grace_seconds=1000)

    assert time.monotonic() - began < PATIENCE_SECONDS


def test_the_last_wave_ends_first() -> None:
    farewell = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done"

    async def play(stage: Stage) -> None:
        stage.supervisor.start(sh(farewell, "redis"))
        stage.supervisor.start(sh(farewell, "worker"))
        await stage.until(lambda: len(stage.lines("ready")) == 2)

    assert [name for name, text in perform(play).lines_written if text == "bye"] == ["worker", "redis"]


def test_a_program_that_runs_to_its_end_gives_its_code() -> None:
    async def play(stage: Stage) -> None:
        assert await stage.supervisor.run(sh("exit 7"), PATIENCE_SECONDS) == 7
        with pytest.raises(TimeoutError):
            await stage.supervisor.run(sh("echo grandchild $$; exec sleep 1000"), 3)

    assert not is_running(grandchildren(perform(play))[0])


def test_a_procfile_line_becomes_its_program() -> None:
    async def play(stage: Stage) -> None:
        line = """python -c 'import os; print("leader" if os.getpid() == os.getsid(0) else "below a shell")' "${MISSING:-}" """
        assert await stage.supervisor.run(shell("it", line), PATIENCE_SECONDS) == 0

    assert perform(play).lines_written == [("it", "leader")]


def test_every_line_is_handed_on_however_long_or_broken() -> None:
    script = f"import sys; sys.stdout.buffer.write(b'a\\r\\n' + b'x' * {3 * CHUNK_BYTES} + b'\\n\\xff\\nno newline')"

    async def play(stage: Stage) -> None:
        await stage.supervisor.run(Program("it", (sys.executable, "-c", script)), PATIENCE_SECONDS)

    texts = [text for _, text in perform(play).lines_written]
    assert texts[0] == "a"
    assert "".join(texts[1:-2]) == "x" * 3 * CHUNK_BYTES
    assert texts[-2:] == ["�", "no newline"]


SUPERVISES_A_SLEEPER = """
import asyncio, os, pathlib
from dev.processes.child import Program
from dev.processes.supervisor import Supervisor

async def main():
    say = lambda name, text: print(text, flush=True)
    supervisor = Supervisor(say, dict(os.environ), pathlib.Path.cwd(), 1)
    supervisor.start(Program("it", ("sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.05; done")))
    await supervisor.wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux kernel ties a child to its parent's life")
def test_children_die_with_a_supervisor_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISES_A_SLEEPER], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        assert is_running(child)
        supervisor.kill()
        supervisor.wait(PATIENCE_SECONDS)

    deadline = time.monotonic() + PATIENCE_SECONDS
    while is_running(child):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(POLL_SECONDS)


def test_codes_are_described() -> None:
    assert describe(2) == "exit code 2"
    assert describe(-signal.SIGTERM) == "exit code -15 (SIGTERM)"


def test_a_procfile_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("# note: a comment\nrelease: migrate up\n\nweb:  serve --port=${PORT:-80}  \n")

    assert list(procfile.read(path).items()) == [("release", "migrate up"), ("web", "serve --port=${PORT:-80}")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_stand_under_their_speakers_name_coloured_only_on_a_terminal() -> None:
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        console = Console(stream, ["web", "worker"])
        console.write_line("web", "hello")
        console.write_line("worker", "hello")

    assert plain.getvalue() == "web    | hello\nworker | hello\n"
    assert terminal.getvalue() == "\x1b[36mweb    |\x1b[0m hello\n\x1b[33mworker |\x1b[0m hello\n"


def test_a_console_that_nobody_reads_ends_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        console = Console(stream, ["web"])
        console.write_line("web", "is anybody there?")
        console.write_line("web", "no")

    assert sent == [(os.getpid(), signal.SIGTERM)]
