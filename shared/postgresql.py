"""How we connect to PostgreSQL: time-outs, a pooler between us and it, and connections that rested.

Behind a pooler such as PgBouncer a server's connection may be another one with each transaction, so that nothing may be set, or
prepared, for longer than one. A pooler makes up the process id that a client is told, by which we know that there is one.
"""

import math
import time
from functools import partial
from typing import Any, NamedTuple

from psycopg import Connection as PsycopgConnection
from sqlalchemy import Dialect, Engine, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

CONNECT_SECONDS = 5
SILENCE_MS = 10_000
UNASKED_SECONDS = 1.0
"""A connection that was used this recently is taken to be alive; one that rested longer is asked first: a round trip more."""


class TimeLimits(NamedTuple):
    """PostgreSQL's own time-outs, in ms; 0: none, None: as the server has it."""

    statement_ms: int = 5_000
    idle_in_transaction_ms: int = 3_000
    lock_ms: int | None = None

    def names(self) -> dict[str, int]:
        """Return them by their names in PostgreSQL."""
        names = {"statement_timeout": self.statement_ms, "idle_in_transaction_session_timeout": self.idle_in_transaction_ms}
        return names if self.lock_ms is None else {**names, "lock_timeout": self.lock_ms}


LIMITS = TimeLimits()

_USED_AT = "used_at"
_POOLED = "pooled"

# A peer that vanishes without a word is noticed by libpq, since the server cannot time out what never reaches it.
_ARGUMENTS = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_MS,
}


def make_engine(url: str, limits: TimeLimits, **options: Any) -> Engine:
    """Make an engine with these time-outs. They are no start-up options of a connection, which poolers refuse."""
    engine = create_engine(url, connect_args=_ARGUMENTS, **options)
    event.listen(engine, "connect", partial(_prepare, limits))
    event.listen(engine, "begin", partial(_bound_transaction, limits))
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_ask_if_alive, engine.dialect))
    return engine


def is_pooled(connection: Connection) -> bool:
    """Return whether a pooler is between us and the server."""
    return bool(connection.info.get(_POOLED))


def _prepare(limits: TimeLimits, connection: Any, record: ConnectionPoolEntry) -> None:
    """Set the time-outs for the whole connection where it is the server's own; one round trip."""
    driver: PsycopgConnection[Any] = getattr(connection, "driver_connection", connection)
    was_autocommit, driver.autocommit = driver.autocommit, True  # or a rollback would take the time-outs back
    times = " || ".join(f"set_config('{name}', '{ms}', false)" for name, ms in limits.names().items())
    ours = f"SELECT CASE WHEN pg_backend_pid() = {driver.info.backend_pid} THEN {times} END"
    row = driver.execute(ours.encode()).fetchone()
    driver.autocommit = was_autocommit
    if row is None or row[0] is None:
        record.info[_POOLED] = True
        driver.prepare_threshold = None


def _bound_transaction(limits: TimeLimits, connection: Connection) -> None:
    if is_pooled(connection):
        connection.exec_driver_sql("; ".join(f"SET LOCAL {name} = {ms}" for name, ms in limits.names().items()))


def _note_use(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _ask_if_alive(dialect: Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
    """Ask a connection that rested for a while whether it is alive; the pool opens another one where it is not."""
    if time.monotonic() - record.info.get(_USED_AT, math.inf) > UNASKED_SECONDS:
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error
