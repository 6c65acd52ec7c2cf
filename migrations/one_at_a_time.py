"""One process migrates a database at a time; the others wait for it, and find nothing left to do."""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Connection, Engine, text

WAIT_SECONDS = 1_800.0
POLL_SECONDS = 0.2
LOCK_ID = 7_236_150_423
"""What PostgreSQL's advisory lock is known by; any number that nobody else uses."""

# Asked again and again, and never waited for: a statement that waits keeps CREATE INDEX CONCURRENTLY waiting. In a transaction,
# since a pooler may give each of them another connection.
TRY = text("SELECT pg_try_advisory_xact_lock(:id)")


@contextmanager
def one_at_a_time(engine: Engine) -> Iterator[None]:
    """Hold the right to migrate this database. Ends the process with one line where another one takes longer than WAIT_SECONDS."""
    with ExitStack() as held:
        _wait(_lock_file(engine, held) if engine.dialect.name == "sqlite" else _lock_in_database(engine, held))
        yield


def _wait(is_ours: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not is_ours():
        if time.monotonic() >= until:
            sys.stderr.write("chatrelay: cannot migrate: another process has been migrating this database for half an hour\n")
            raise SystemExit(1)
        time.sleep(POLL_SECONDS)


def _lock_in_database(engine: Engine, held: ExitStack) -> Callable[[], bool]:
    connection = held.enter_context(engine.connect())
    return lambda: _is_locked_in_database(connection)


def _is_locked_in_database(connection: Connection) -> bool:
    is_ours = bool(connection.scalar(TRY, {"id": LOCK_ID}))
    # Without a time-out while it is held; and the statement before, whose snapshot would be waited for, is over only with the next.
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    return is_ours


def _lock_file(engine: Engine, held: ExitStack) -> Callable[[], bool]:
    file = os.open(f"{engine.url.database}-migration", os.O_CREAT | os.O_RDWR, mode=0o600)
    held.callback(os.close, file)
    return lambda: _is_locked(file)


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
