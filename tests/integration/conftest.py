"""Real servers: one Redis, and one database of each kind that is emptied for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dev.servers.postgres_server import PostgresServer
from dev.testing.stack import SECRET_KEY, Redis
from shared.config import Settings
from shared.database import Database
from shared.models import Base
from tests.databases import migrated
from tests.integration.jobs import Jobs


def _empty(database: Database) -> None:
    with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One SQLite database with our tables."""
    made = migrated(f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'chatrelay.db'}")
    yield made
    made.engine.dispose()


@pytest.fixture(scope="session")
def postgresql(postgres_server: PostgresServer) -> Iterator[Database]:
    """One PostgreSQL database with our tables."""
    made = migrated(postgres_server.create_database())
    yield made
    made.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """A database with our tables and without rows, once of each kind: emptied each time, which is faster than migrating it."""
    made: Database = request.getfixturevalue(request.param)
    _empty(made)
    return made


@pytest.fixture
def jobs(database: Database) -> Jobs:
    """Jobs in an empty database, once of each kind. Files for which the kind does not matter override it with `sqlite_jobs`."""
    return Jobs(database)


@pytest.fixture
def sqlite_jobs(sqlite: Database) -> Jobs:
    """Jobs in an empty SQLite database, for tests to which the kind of database makes no difference."""
    _empty(sqlite)
    return Jobs(sqlite)


@pytest.fixture
def redis_client(empty_redis: Redis) -> redis.Redis:
    """A client of the emptied Redis."""
    return empty_redis.client


@pytest.fixture
def config(empty_redis: Redis, tmp_path: Path) -> Settings:
    """Settings with short times."""
    return Settings(
        secret_key=SECRET_KEY,
        redis_url=empty_redis.url,
        data_dir=tmp_path,
        lease_seconds=2,
        renew_seconds=0.2,
        heartbeat_seconds=0.2,
        log_ttl_seconds=60,
    )
