"""The database: engine, transactions, and its clock. SQLite and PostgreSQL alike.

All times that are compared are milliseconds since 1970 by the *database's* clock, so that machines' clocks are never compared. A
transaction is short and does no other I/O; none is open while a model answers.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, Engine, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.expression import FunctionElement

from shared.errors import DatabaseUnavailable

BUSY_MS = 5_000
CONNECT_SECONDS = 5
STATEMENT_MS = 5_000
IDLE_IN_TRANSACTION_MS = 3_000
SILENCE_MS = 10_000
POOL_SIZE = 10
POOL_OVERFLOW = 20
POOL_WAIT_SECONDS = 10
POOL_RECYCLE_SECONDS = 1_800

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

_SQLITE_BEGIN = "sqlite_begin"
_SQLITE_WRONG_STATEMENT = "SQLITE_ERROR"
_POSTGRESQL_READ_ONLY = "25006"


class now_ms(FunctionElement[int]):
    """The database's clock, in milliseconds since 1970: the moment, not the transaction's start."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


@compiles(now_ms, "postgresql")
def _postgresql_now(*_: Any, **__: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


class Database:
    """One process' way to the database.

    Raises:
        DatabaseUnavailable: from `read` and `write`, when the database is away or too busy to answer.
    """

    def __init__(self, url: str, connections: int = POOL_SIZE + POOL_OVERFLOW) -> None:
        """Keep an SQLAlchemy URL and the largest number of connections; nothing is opened yet."""
        self.engine = _engine(url, connections)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer = self.engine.execution_options(**{_SQLITE_BEGIN: "BEGIN IMMEDIATE"})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that only reads."""
        with _translated(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session in one transaction: committed at the end, rolled back on any error."""
        with _translated(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable() from error
    except DBAPIError as error:
        if _may_pass(error):
            raise DatabaseUnavailable() from error
        raise


def _may_pass(error: DBAPIError) -> bool:
    """Return whether a database is away or busy; SQLite's driver has the same name for a statement that is wrong."""
    is_wrong = getattr(error.orig, "sqlite_errorname", "") == _SQLITE_WRONG_STATEMENT
    is_failing_over = getattr(error.orig, "sqlstate", "") == _POSTGRESQL_READ_ONLY
    is_away = isinstance(error, OperationalError | InterfaceError) and not is_wrong
    return error.connection_invalidated or is_failing_over or is_away


def _json(value: Any) -> str:
    """Write JSON; for the character NUL, which PostgreSQL cannot hold, stands the replacement character."""
    return _NUL.sub(r"\1\\ufffd", json.dumps(value))


def _engine(url: str, connections: int) -> Engine:
    kept = min(connections, POOL_SIZE)
    options: dict[str, Any] = {
        "json_serializer": _json,
        "pool_size": kept,
        "max_overflow": connections - kept,
        "pool_timeout": POOL_WAIT_SECONDS,
        "pool_recycle": POOL_RECYCLE_SECONDS,
        "hide_parameters": True,  # an error ends in a log, and a statement's parameters are what users say
    }
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    limits = f"-c statement_timeout={STATEMENT_MS} -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
    # A peer that vanishes without a word is noticed by libpq, since the server cannot time out what never reaches it.
    silence = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": SILENCE_MS}
    arguments = {"connect_timeout": CONNECT_SECONDS, "options": limits, **silence}
    return create_engine(url, connect_args=arguments, pool_pre_ping=True, **options)


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver would begin too late: after a write's first read
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that reads first and upgrades later is refused when another wrote in between.
    connection.exec_driver_sql(connection.get_execution_options().get(_SQLITE_BEGIN, "BEGIN"))
