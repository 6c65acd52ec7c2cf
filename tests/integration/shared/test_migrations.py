"""The migrations make exactly the tables of the models, and can be taken back."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, inspect, text

from dev.paths import ROOT
from dev.testing.stack import BIN, wait_until
from shared.config import settings
from shared.database import Database
from shared.models import Base
from tests.databases import migrate


@pytest.fixture
def alembic(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """Alembic, on an empty database of each kind."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    settings.cache_clear()
    yield Config(ROOT / "alembic.ini")
    settings.cache_clear()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_engine(database_url)
    yield made
    made.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_the_migrations_lead_to_the_models(alembic: Config) -> None:
    command.upgrade(alembic, "head")
    command.check(alembic)


def test_the_migrations_can_be_taken_back_and_made_again(alembic: Config, engine: Engine) -> None:
    for _ in range(2):
        command.upgrade(alembic, "head")
        assert tables(engine) == set(Base.metadata.tables)
        command.downgrade(alembic, "base")
        assert tables(engine) == set()


def test_the_indexes_that_promise_something_are_there(database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(database_url, monkeypatch)
    found = {index["name"]: index for index in inspect(engine).get_indexes("jobs")}
    running = found["uq_jobs_running_per_conversation"]

    assert running["unique"]
    assert running["column_names"] == ["conversation_id"]
    (where,) = (str(value) for name, value in running["dialect_options"].items() if name.endswith("_where"))
    assert "in_progress" in where


def test_a_migrated_database_is_usable(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(database_url, monkeypatch)
    migrate(database_url, monkeypatch)
    database = Database(database_url)
    with database.read() as session:
        assert session.query(Base.metadata.tables["jobs"]).count() == 0
    database.engine.dispose()


def test_six_that_start_at_once_all_succeed(database_url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": database_url}
    starting = [subprocess.Popen([BIN / "alembic", "upgrade", "head"], cwd=ROOT, env=environment) for _ in range(6)]
    assert [process.wait(60) for process in starting] == [0] * 6


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_big_table_is_written_while_its_index_is_made(alembic: Config, engine: Engine, database_url: str) -> None:
    """An index of a table in use: its build waits for who was there before, and nobody waits for it."""
    command.upgrade(alembic, "0005")
    with engine.connect() as reader:
        reader.execute(text("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        reader.execute(text("SELECT count(*) FROM conversations"))
        migrating = subprocess.Popen(
            [BIN / "alembic", "upgrade", "head"], cwd=ROOT, env={**os.environ, "DATABASE_URL": database_url}
        )
        wait_until(lambda: _is_building(engine), "the build of the index")
        with engine.begin() as writer:
            writer.execute(text("SET LOCAL lock_timeout = 1000"))
            writer.execute(
                text("INSERT INTO users (id, username, password_hash, is_admin, created_ms) VALUES ('u', 'u', '-', false, 0)")
            )
            writer.execute(text("INSERT INTO conversations (id, user_id, last_position, created_ms) VALUES ('c', 'u', 0, 0)"))
        reader.rollback()
    assert migrating.wait(60) == 0
    command.check(alembic)


def _is_building(engine: Engine) -> bool:
    building = text("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'virtualxid' AND query LIKE 'CREATE INDEX CONCURRENTLY%'")
    with engine.connect() as connection:
        return connection.execute(building).first() is not None
