"""Transactions, the database's clock, and what is said while it is away."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session

from dev.servers.postgres_server import PostgresServer
from shared import database as database_module
from shared.database import Database, now_ms
from shared.errors import DatabaseUnavailable
from shared.models import Job, User
from shared.postgresql import TimeLimits
from tests.integration.jobs import Jobs

SHORT_MS = 300


class Wrong(Exception):
    """Something of the caller's."""


def names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(User.username)))


def user(name: str) -> User:
    return User(id=name, username=name, password_hash="-")


def test_a_write_is_committed_at_its_end(database: Database) -> None:
    with database.write() as session:
        session.add(user("anna"))
        session.flush()
        assert names(database) == []

    assert names(database) == ["anna"]


def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            session.add(user("anna"))
            session.flush()
            raise Wrong

    with pytest.raises(Wrong):
        fail()
    assert names(database) == []


def test_a_read_refuses_to_write(database: Database) -> None:
    with database.read() as session:
        session.add(user("anna"))
        with pytest.raises(RuntimeError):
            session.flush()

    assert names(database) == []


def test_a_statement_is_committed_when_it_returns(database: Database) -> None:
    with database.statement() as connection:
        connection.execute(insert(User).values(id="anna", username="anna", password_hash="-"))
        assert names(database) == ["anna"]


def test_a_statement_that_breaks_a_rule_leaves_the_connection_usable(database: Database) -> None:
    statement = insert(User).values(id="anna", username="anna", password_hash="-")
    with database.statement() as connection:
        connection.execute(statement)
    with pytest.raises(IntegrityError), database.statement() as connection:
        connection.execute(statement)

    with database.write() as session:
        session.add(user("bert"))
        session.flush()
        assert names(database) == ["anna"]  # what came before does not make later transactions commit by themselves
    assert names(database) == ["anna", "bert"]


def test_a_broken_rule_is_the_callers(database: Database) -> None:
    def twice() -> None:
        with database.write() as session:
            session.add_all([user("anna"), User(id="other", username="anna", password_hash="-")])

    with pytest.raises(IntegrityError):
        twice()


def test_a_wrong_statement_is_not_a_database_that_is_away(database: Database) -> None:
    with pytest.raises(SQLAlchemyError), database.read() as session:
        session.execute(text("SELECT nothing FROM nowhere"))


def test_foreign_keys_are_kept(jobs: Jobs) -> None:
    job_id = jobs.queue(user=(owner := jobs.user()))
    with jobs.database.write() as session:
        session.delete(session.get_one(User, owner))

    with jobs.database.read() as session:
        assert session.get(Job, job_id) is None


def test_the_clock_is_the_databases(database: Database) -> None:
    before_ms = time.time() * 1000
    with database.read() as session:
        database_ms = session.scalar(select(now_ms()))

    assert database_ms is not None
    assert before_ms - 10 <= database_ms <= time.time() * 1000 + 10


def test_the_clock_is_the_moment_and_not_the_transactions_start(database: Database) -> None:
    with database.read() as session:
        first = session.scalar(select(now_ms()))
        time.sleep(0.02)
        second = session.scalar(select(now_ms()))

    assert first is not None
    assert second is not None
    assert second - first >= 20 - 1  # both are cut to whole milliseconds


def test_a_writer_that_reads_first_sees_what_was_written_before_it(database: Database) -> None:
    """On SQLite a transaction that upgrades later would be refused, on either a lost update."""
    with database.write() as session:
        session.add(user("anna"))

    def rename(session: Session) -> None:
        row = session.scalars(select(User).with_for_update()).one()
        row.username += "!"

    for _ in range(3):
        with database.write() as session:
            rename(session)
    assert names(database) == ["anna!!!"]


def test_a_locked_sqlite_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_MS", 50)
    database = Database(f"sqlite:///{tmp_path / 'locked.db'}")
    with database.write() as session:
        session.execute(text("CREATE TABLE t (x)"))

    with database.write() as session:
        session.execute(select(1))
        with pytest.raises(DatabaseUnavailable):
            ask(database)
    assert ask(database) == 1
    database.engine.dispose()


def test_a_sqlite_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}")

    with pytest.raises(DatabaseUnavailable), database.read() as session:
        session.execute(select(1))
    database.engine.dispose()


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    with database.write() as session:
        session.add(user("anna"))
        session.flush()
        assert names(database) == []  # or else it would wait, and give up


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own(own_server: PostgresServer) -> Iterator[Database]:
    """A database on a server that may be hurt."""
    database = Database(own_server.url())
    yield database
    database.engine.dispose()


def ask(database: Database) -> int | None:
    with database.write() as session:
        return session.scalar(select(1))


def is_idle(connection: Connection) -> bool:
    """Return whether no transaction is open on a PostgreSQL connection."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw.info.transaction_status is TransactionStatus.IDLE


def test_one_statement_on_postgresql_is_one_round_trip(own: Database) -> None:
    with own.statement() as connection:
        connection.execute(select(1))
        assert is_idle(connection)
    with own.read() as session:
        session.execute(select(1))
        assert is_idle(session.connection())


def test_a_postgresql_that_is_away_is_unavailable_and_comes_back(own_server: PostgresServer, own: Database) -> None:
    assert ask(own) == 1
    own_server.stop()
    try:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                ask(own)
    finally:
        own_server.start()

    assert ask(own) == 1


def test_a_postgresql_that_goes_away_within_a_transaction_is_unavailable(own_server: PostgresServer, own: Database) -> None:
    def cut_off() -> None:
        with own.write() as session:
            session.execute(select(1))
            own_server.stop()
            session.execute(select(1))

    with pytest.raises(DatabaseUnavailable):
        cut_off()
    own_server.start()
    assert ask(own) == 1


def test_a_statement_that_takes_too_long_is_unavailable(own_server: PostgresServer) -> None:
    database = Database(own_server.url(), limits=TimeLimits(statement_ms=SHORT_MS))

    with pytest.raises(DatabaseUnavailable), database.read() as session:
        session.execute(text("SELECT pg_sleep(10)"))
    database.engine.dispose()


def test_a_transaction_left_open_too_long_is_unavailable(own_server: PostgresServer) -> None:
    database = Database(own_server.url(), limits=TimeLimits(idle_in_transaction_ms=SHORT_MS))

    def dawdle() -> None:
        with database.write() as session:
            session.execute(select(1))
            time.sleep(2 * SHORT_MS / 1000)
            session.execute(select(1))

    with pytest.raises(DatabaseUnavailable):
        dawdle()
    database.engine.dispose()


def test_a_postgresql_that_may_only_be_read_for_now_is_unavailable(own: Database) -> None:
    """As a server is in the middle of a fail-over."""
    with own.write() as session:
        session.execute(text("CREATE TABLE t (x int)"))

    def write() -> None:
        with own.write() as session:
            session.execute(text("SET TRANSACTION READ ONLY"))
            session.execute(text("INSERT INTO t VALUES (1)"))

    with pytest.raises(DatabaseUnavailable):
        write()


def test_a_pool_that_is_used_up_is_unavailable(own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "POOL_WAIT_SECONDS", 0.1)
    database = Database(own_server.url(), connections=1)

    with database.read() as session:
        session.execute(select(1))
        with pytest.raises(DatabaseUnavailable):
            ask(database)
    assert ask(database) == 1
    database.engine.dispose()


def test_a_table_that_is_not_there_is_not_unavailable(own: Database) -> None:
    with pytest.raises(ProgrammingError), own.read() as session:
        session.execute(select(Job.id))
