"""One model server for each file, a client of it, and a message for each test."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from openai import OpenAI

from tests.unit.dev.model.server import Server, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def text() -> str:
    """A message of this test alone: calls are counted by it."""
    return f"Hello {uuid4()}"
