"""`bin/dev` as a developer meets it: one screen that works, what dies comes back, and in the end nothing is left."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TypeVar

import pytest

from dev import exclusive
from dev.account import call_api, what_is_missing
from dev.paths import ROOT
from dev.testing.stack import free_port
from shared.config import Settings

PORTS = ("PORT", "FLOWER_PORT", "REDIS_PORT", "MODEL_PORT")

UP_SECONDS = 60.0
DOWN_SECONDS = 20.0
REFUSAL_SECONDS = 15.0
STREAM_SECONDS = 30.0
FLOWER_SECONDS = 5.0
POLL_SECONDS = 0.05

T = TypeVar("T")

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
needs_curl = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="pastes the printed curl into bash")


def free_ports() -> dict[str, str]:
    """A free port for each setting, all different."""
    return {name: str(free_port()) for name in PORTS}


def surroundings(data_dir: Path, **variables: str) -> dict[str, str]:
    """This machine's environment without any setting of ours, but for these."""
    ours = {name.upper() for name in Settings.model_fields} | {"FLOWER_BASIC_AUTH"}
    return {name: value for name, value in os.environ.items() if name not in ours} | {"DATA_DIR": str(data_dir), **variables}


def wait_for(what: Callable[[], T], seconds: float, complaint: Callable[[], str]) -> T:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, complaint()
        time.sleep(POLL_SECONDS)
    return found


class Dev:
    """A running `python -m dev.up`, and what it printed."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.ports = free_ports()
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dev.up"],
            cwd=ROOT,
            env=surroundings(data_dir, **self.ports),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(line.rstrip("\n") for line in output)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def api_port(self) -> int:
        return int(self.ports["PORT"])

    def line(self, pattern: str, seconds: float = UP_SECONDS) -> str:
        """The first line in which this is found; waits for it."""
        return wait_for(
            lambda: next((line for line in list(self.lines) if re.search(pattern, line)), ""),
            seconds,
            lambda: f"no line like {pattern!r} in:\n{self.output}",
        )

    def curl(self) -> str:
        """Paste the printed command into bash, as it stands."""
        command = self.line(r"^curl ")
        done = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True, timeout=STREAM_SECONDS)
        return done.stdout

    def family(self) -> dict[int, str]:
        """Every process that descends from it, with its command line."""
        children: dict[int, list[int]] = {}
        for pid, parent, _ in processes():
            children.setdefault(parent, []).append(pid)
        found, generation = [], [self.process.pid]
        while generation:
            generation = [child for pid in generation for child in children.get(pid, [])]
            found += generation
        return {pid: command_line(pid) for pid in found}

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(DOWN_SECONDS)
        self._reader.join(DOWN_SECONDS)
        return code


def processes() -> Iterator[tuple[int, int, str]]:
    """Number, parent and state of every process of this machine."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        yield int(stat.parent.name), int(parent), state


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def alive(pids: Iterator[int] | set[int]) -> set[int]:
    wanted = set(pids)
    return {pid for pid, _, state in processes() if pid in wanted and state != "Z"}


@contextmanager
def developing(data_dir: Path) -> Iterator[Dev]:
    dev = Dev(data_dir)
    try:
        dev.line(r"^Ctrl-C ends all of it")
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.end()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with developing(tmp_path_factory.mktemp("dev") / "data") as running:
        yield running


def flower_status(dev: Dev, credentials: str | None) -> int:
    headers = {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"} if credentials else {}
    connection = HTTPConnection("127.0.0.1", int(dev.ports["FLOWER_PORT"]), timeout=FLOWER_SECONDS)
    try:
        connection.request("GET", "/", headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@needs_curl
def test_the_printed_curl_works_as_it_stands(dev: Dev) -> None:
    answer = dev.curl()

    assert "event: delta" in answer
    assert "event: completed" in answer


def test_the_screen_tells_where_everything_is(dev: Dev) -> None:
    assert dev.line(r"^  API ").endswith(f"http://127.0.0.1:{dev.api_port}")
    assert dev.line(r"^  Docs ").endswith(f"http://127.0.0.1:{dev.api_port}/docs/")
    assert dev.line(r"^  Data ").endswith(str(dev.data_dir))
    assert call_api(dev.api_port, "GET", "/docs/").status == 200
    assert (dev.data_dir / "chatrelay.db").is_file()


def test_flower_opens_to_the_printed_password_only(dev: Dev) -> None:
    shown = re.search(r"\(user (\S+), password (\S+)\)", dev.line(r"^  Flower "))
    assert shown

    wait_for(lambda: flower_status(dev, f"{shown[1]}:{shown[2]}") == 200, UP_SECONDS, lambda: dev.output)
    assert flower_status(dev, None) == 401
    assert flower_status(dev, f"{shown[1]}:wrong") == 401


@linux_only
def test_every_process_knows_its_data_folder(dev: Dev) -> None:
    family = dev.family()
    environments = {pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in family}

    for part in ("gunicorn", "workers.app", "flower", "dev.model", "valkey-server"):
        assert any(part in line for line in family.values()), f"{part} does not run: {family}"
    assert [family[pid] for pid, variables in environments.items() if f"DATA_DIR={dev.data_dir}".encode() not in variables] == []


@linux_only
@needs_curl
@pytest.mark.parametrize(("name", "part"), [("worker", "workers.app"), ("web", "gunicorn"), ("redis", "valkey-server")])
def test_what_is_killed_comes_back(dev: Dev, name: str, part: str) -> None:
    victim = min(pid for pid, line in dev.family().items() if part in line)  # of gunicorn's, the master

    os.kill(victim, signal.SIGKILL)

    assert "starting it again" in dev.line(rf"^{name} +\| ended with exit code -9 \(SIGKILL\)")
    wait_for(lambda: any(part in line for line in dev.family().values()), UP_SECONDS, lambda: dev.output)
    wait_for(lambda: what_is_missing(dev.api_port) is None, UP_SECONDS, lambda: dev.output)
    assert "event: completed" in dev.curl()


@linux_only
def test_sigterm_ends_all_of_it(tmp_path: Path) -> None:
    with developing(tmp_path / "data") as dev:
        family = set(dev.family())
        assert dev.end() == 0

    assert alive(family) == set()
    exclusive.check_ports({name: int(port) for name, port in dev.ports.items()})
    assert not [line for line in dev.lines if "starting it again" in line or "Traceback" in line], dev.output


@linux_only
@needs_curl
def test_two_run_side_by_side_and_one_that_is_killed_takes_its_own_along(dev: Dev, tmp_path: Path) -> None:
    with developing(tmp_path / "data") as other:
        assert "event: completed" in other.curl()
        family = set(other.family())
        other.end(signal.SIGKILL)
        wait_for(lambda: not alive(family), DOWN_SECONDS, lambda: f"left behind: {[command_line(pid) for pid in alive(family)]}")

    assert "event: completed" in dev.curl()


def refused(data_dir: Path, **variables: str) -> str:
    """The one line of a start that is refused."""
    done = subprocess.run(
        [sys.executable, "-m", "dev.up"],
        cwd=ROOT,
        env=surroundings(data_dir, **variables),
        check=False,
        capture_output=True,
        text=True,
        timeout=REFUSAL_SECONDS,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("name", PORTS)
def test_a_taken_port_is_one_line_and_nothing_starts(name: str, tmp_path: Path) -> None:
    ports = free_ports()
    with socket.create_server(("127.0.0.1", int(ports[name]))):
        line = refused(tmp_path, **ports)

    assert f"port {ports[name]} cannot be used" in line
    assert f"set {name} to another one" in line
    assert not (tmp_path / "redis").exists()


def test_a_redis_that_is_away_is_one_line(tmp_path: Path) -> None:
    ports = free_ports()

    line = refused(tmp_path, **ports, REDIS_URL=f"redis://127.0.0.1:{ports['REDIS_PORT']}/0")

    assert f"the Redis of REDIS_URL (127.0.0.1:{ports['REDIS_PORT']}) does not answer" in line


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    assert "DRAIN_SECONDS: " in refused(tmp_path, **free_ports(), DRAIN_SECONDS="soon")
