"""The list of models: read by one worker, told through Redis, and back by itself whatever was lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import orjson
import pytest
from openai import AsyncOpenAI, OpenAIError

from dev.testing.stack import Redis
from shared import keyspace, redis_clients
from workers.providers.model_list import FRESH_SECONDS, LOOK_SECONDS, ModelList


class Provider:
    """A provider that lists models, or does not."""

    def __init__(self) -> None:
        self.asked = 0
        self.models: list[dict[str, Any]] | None = [{"id": "m", "object": "model", "created": 5, "owned_by": "x", "more": 1}]

    def answer(self, _: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        if self.models is None:
            return httpx2.Response(500, json={"error": {"message": "No."}})
        return httpx2.Response(200, json={"object": "list", "data": self.models})


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def look(empty_redis: Redis, provider: Provider) -> Callable[[], None]:
    """Look once, as a worker does every few seconds."""

    async def once() -> None:
        client = redis_clients.nonblocking(empty_redis.url)
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(provider.answer))
        sdk = AsyncOpenAI(api_key="k", base_url="http://models/v1", max_retries=0, http_client=http)
        try:
            await ModelList(client, sdk).look()
        finally:
            await sdk.close()
            await client.aclose()

    return lambda: asyncio.run(once())


def told(redis: Redis) -> Any:
    kept: Any = redis.client.get(keyspace.MODELS_KEY)
    return kept and orjson.loads(kept)


def test_the_list_is_read_once_and_told(look: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    look()
    look()
    assert told(empty_redis) == [{"id": "m", "object": "model", "created": 5, "owned_by": "x"}]
    assert provider.asked == 1


def test_a_list_that_redis_lost_is_read_again(look: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    look()
    empty_redis.client.flushall()
    look()
    assert (bool(told(empty_redis)), provider.asked) == (True, 2)


def test_an_old_list_is_read_again(look: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    look()
    provider.models = [{"id": "new"}]
    empty_redis.client.delete(keyspace.MODELS_FRESH_KEY)
    look()
    assert [model["id"] for model in told(empty_redis)] == ["new"]


def test_while_the_provider_is_away_the_last_list_is_told(look: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    look()
    provider.models = None
    empty_redis.client.delete(keyspace.MODELS_FRESH_KEY)
    with pytest.raises(OpenAIError):
        look()
    assert [model["id"] for model in told(empty_redis)] == ["m"]
    assert 0 < empty_redis.client.ttl(keyspace.MODELS_FRESH_KEY) <= LOOK_SECONDS


def test_a_worker_that_died_over_it_holds_nobody_up(look: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    empty_redis.client.set(keyspace.MODELS_FRESH_KEY, b"1", ex=FRESH_SECONDS)
    look()  # somebody may still be at it
    assert provider.asked == 0
    empty_redis.client.expire(keyspace.MODELS_FRESH_KEY, int(FRESH_SECONDS - LOOK_SECONDS) - 1)
    look()  # nobody can be
    look()
    assert [model["id"] for model in told(empty_redis)] == ["m"]
