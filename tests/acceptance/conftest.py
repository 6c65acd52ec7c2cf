"""Whole stacks of real processes."""

from collections.abc import Iterator

import pytest

from dev.servers.postgres_server import PostgresServer
from dev.testing.client import Client
from dev.testing.stack import Redis, Stack, running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis, postgres_server: PostgresServer) -> Iterator[Stack]:
    """Two API processes and two workers on one Redis and one PostgreSQL; a file with other needs overrides it."""
    redis_server.client.flushall()
    folder = tmp_path_factory.mktemp("stack")
    with running(Stack(folder, redis_server.url, postgres_server.create_database()), webs=2, workers=2) as started:
        yield started


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A new user of the stack."""
    made = Client(stack.url)
    yield made
    made.close()
