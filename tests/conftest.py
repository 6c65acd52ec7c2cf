"""What tests of every kind share: a real Redis, a real PostgreSQL, and a fresh database for each test that wants one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from dev.testing.stack import SECRET_KEY, Redis
from shared.config import Settings

# Importing more of the product reads its settings, once; what developers have set for themselves must not leak into the tests.
for _name in Settings.model_fields:
    os.environ.pop(_name.upper(), None)
os.environ["SECRET_KEY"] = SECRET_KEY

from dev.servers.postgres_server import PostgresServer  # noqa: E402 - after the environment is clean

# A machine that stands still for a moment is no counterexample. Every run looks for new cases, except in CI: there a change must
# not fail for what it has nothing to do with. A failure prints the line that makes another run try the same case.
hypothesis_settings.register_profile(
    "chatrelay",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=os.environ.get("CI") == "true",
)
hypothesis_settings.load_profile("chatrelay")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """One Redis for all tests of this process that do not stop or damage it."""
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def empty_redis(redis_server: Redis) -> Redis:
    """The shared Redis, emptied."""
    redis_server.client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests of this process that do not stop or damage it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database without tables, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'chatrelay.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database()
