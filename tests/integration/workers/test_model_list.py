"""The list of models: read by one worker, stored in Redis, and back by itself whatever was lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import orjson
import pytest
from openai import AsyncOpenAI, OpenAIError

from dev.testing.stack import Redis
from shared.redis import keyspace, redis_clients
from workers.providers.model_list import FRESH_SECONDS, UPDATE_SECONDS, ModelListUpdater


class Provider:
    """A provider that lists models, or does not."""

    def __init__(self) -> None:
        self.calls = 0
        self.models: list[dict[str, Any]] | None = [{"id": "m", "object": "model", "created": 5, "owned_by": "x", "more": 1}]

    def answer(self, _: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        if self.models is None:
            return httpx2.Response(500, json={"error": {"message": "No."}})
        return httpx2.Response(200, json={"object": "list", "data": self.models})


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def update(empty_redis: Redis, provider: Provider) -> Callable[[], None]:
    """Update once, as a worker does every few seconds."""

    async def once() -> None:
        client = redis_clients.nonblocking(empty_redis.url)
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(provider.answer))
        sdk = AsyncOpenAI(api_key="k", base_url="http://models/v1", max_retries=0, http_client=http)
        try:
            await ModelListUpdater(client, sdk).update()
        finally:
            await sdk.close()
            await client.aclose()

    return lambda: asyncio.run(once())


def stored(redis: Redis) -> Any:
    found: Any = redis.client.get(keyspace.MODELS_KEY)
    return found and orjson.loads(found)


def test_the_list_is_read_once_and_stored(update: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    update()
    update()
    assert stored(empty_redis) == [{"id": "m", "object": "model", "created": 5, "owned_by": "x"}]
    assert provider.calls == 1


def test_a_list_that_redis_lost_is_read_again(update: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    update()
    empty_redis.client.flushall()
    update()
    assert (bool(stored(empty_redis)), provider.calls) == (True, 2)


def test_an_old_list_is_read_again(update: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    update()
    provider.models = [{"id": "new"}]
    empty_redis.client.delete(keyspace.MODELS_FRESH_KEY)
    update()
    assert [model["id"] for model in stored(empty_redis)] == ["new"]


def test_the_last_list_is_kept_while_its_provider_is_away(
    update: Callable[[], None], provider: Provider, empty_redis: Redis
) -> None:
    update()
    provider.models = None
    empty_redis.client.delete(keyspace.MODELS_FRESH_KEY)
    with pytest.raises(OpenAIError):
        update()
    assert [model["id"] for model in stored(empty_redis)] == ["m"]
    assert 0 < empty_redis.client.ttl(keyspace.MODELS_FRESH_KEY) <= UPDATE_SECONDS


def test_a_worker_that_died_over_it_delays_no_other(update: Callable[[], None], provider: Provider, empty_redis: Redis) -> None:
    empty_redis.client.set(keyspace.MODELS_FRESH_KEY, b"1", ex=FRESH_SECONDS)
    update()  # another worker may still be reading it
    assert provider.calls == 0
    empty_redis.client.expire(keyspace.MODELS_FRESH_KEY, int(FRESH_SECONDS - UPDATE_SECONDS) - 1)
    update()  # no worker can be
    update()
    assert [model["id"] for model in stored(empty_redis)] == ["m"]
