"""The database: engine, transactions, and its clock. SQLite and PostgreSQL alike.

All times that are compared are milliseconds since 1970 by the *database's* clock, so that machines' clocks are never compared. A
transaction is short and does no other I/O; none is open while a model answers.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Engine, create_engine, event, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.expression import FunctionElement

from shared import postgresql
from shared.errors import DatabaseUnavailable
from shared.postgresql import LIMITS, TimeLimits

BUSY_MS = 5_000
POOL_CONNECTIONS = 30
"""At the most, opened when they are needed and then kept: to open one takes longer than a job's statements together."""

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


def now_once() -> ColumnElement[int]:
    """Return the database's clock as a value that a statement reads once, before it begins, so that an index can be searched by it.

    PostgreSQL compares every row of a table with a clock that may differ from row to row.
    """
    return select(now_ms()).scalar_subquery()


class Database:
    """One process' way to the database.

    Raises:
        DatabaseUnavailable: from `read` and `write`, when the database is away or too busy to answer.
    """

    def __init__(self, url: str, connections: int = POOL_CONNECTIONS, limits: TimeLimits = LIMITS) -> None:
        """Keep an SQLAlchemy URL, the largest number of connections, and PostgreSQL's time-outs; nothing is opened yet."""
        self.engine = _engine(url, connections, limits)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer = self.engine.execution_options(**{_SQLITE_BEGIN: "BEGIN IMMEDIATE"})
        # PostgreSQL's transactions see each other's commits at every statement anyway, so that one which only reads buys nothing
        # for the two round trips of its BEGIN and its ROLLBACK.
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT", **{_SQLITE_BEGIN: ""})
        # Through a pooler a time-out can be set for a transaction only.
        self._has_pooler: bool | None = False if self.is_sqlite else None
        if not self.is_sqlite:
            event.listen(self.engine, "engine_connect", self._note_pooler)

    def _note_pooler(self, connection: Connection) -> None:
        self._has_pooler = postgresql.is_pooled(connection)

    def _statements(self) -> Engine:
        if self._has_pooler is None:
            self.engine.connect().close()  # which is noted
        return self.engine if self._has_pooler else self._single

    def _reader(self) -> Engine:
        return self.engine if self.is_sqlite else self._statements()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that only reads; it raises an error when objects of it are to be written."""
        with _translated(), _ReadSession(self._reader(), expire_on_commit=False) as session:
            yield session

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """Open a connection for one statement, which is a transaction of its own: in one round trip, committed when it returns."""
        with _translated(), self._statements().begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session in one transaction: committed at the end, rolled back on any error."""
        with _translated(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session


class _ReadSession(Session):
    """A session whose objects are not to be changed."""


@event.listens_for(_ReadSession, "before_flush")
def _refuse_to_write(*_: object) -> None:
    raise RuntimeError("A session that only reads was given something to write.")


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


def _engine(url: str, connections: int, limits: TimeLimits) -> Engine:
    options: dict[str, Any] = {
        "json_serializer": _json,
        "pool_size": connections,
        "max_overflow": 0,
        "pool_use_lifo": True,  # the one that was used last need not be asked whether it is alive
        "pool_timeout": POOL_WAIT_SECONDS,
        "pool_recycle": POOL_RECYCLE_SECONDS,
        "hide_parameters": True,  # an error ends in a log, and a statement's parameters are what users say
    }
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return postgresql.make_engine(url, limits, **options)


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver would begin too late: after a write's first read
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that reads first and upgrades later is refused when another wrote in between.
    if begin := connection.get_execution_options().get(_SQLITE_BEGIN, "BEGIN"):
        connection.exec_driver_sql(begin)
