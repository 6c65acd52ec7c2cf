"""OpenAI's SDK as a new user."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from dev.testing.client import Client
from tests.api.deployment import Deployment
from tests.openai_reader import sdk


@pytest.fixture
def api(deployment: Deployment, client: Client) -> Iterator[OpenAI]:
    """The official SDK, with a new user's token."""
    with sdk(deployment.url, client.token) as made:
        yield made
