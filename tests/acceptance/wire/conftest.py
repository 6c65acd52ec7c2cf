"""A stack whose provider is scripted, and the official SDK before it."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from dev.testing.client import Client
from dev.testing.stack import Redis, Stack, running
from tests.acceptance.wire.shapes import SCRIPTS
from tests.openai_reader import sdk
from tests.scripted_provider import ScriptedProvider

LIMITS = {"MAX_TRIES": "3", "PROVIDER_DOWN_SECONDS": "4", "STALL_SECONDS": "5"}


@pytest.fixture(scope="package")
def provider() -> Iterator[ScriptedProvider]:
    """The provider, which keeps what it was asked."""
    made = ScriptedProvider(SCRIPTS)
    yield made
    made.close()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis, provider: ScriptedProvider) -> Iterator[Stack]:
    """A stack that asks it."""
    redis_server.client.flushall()
    folder = tmp_path_factory.mktemp("wire")
    database_url = f"sqlite:///{folder / 'chatrelay.db'}"
    with running(Stack(folder, redis_server.url, database_url, OPENAI_BASE_URL=provider.url, **LIMITS)) as started:
        yield started


@pytest.fixture(scope="package")
def client(stack: Stack) -> Iterator[Client]:
    """A user."""
    made = Client(stack.url)
    yield made
    made.close()


@pytest.fixture(scope="package")
def api(stack: Stack, client: Client) -> Iterator[OpenAI]:
    """The official SDK, with the user's token."""
    with sdk(stack.url, client.token) as made:
        yield made
