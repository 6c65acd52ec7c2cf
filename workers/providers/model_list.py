"""The provider's list of models: read from the provider by one worker at a time, and put into Redis for the API processes."""

import asyncio

import orjson
import redis.asyncio
import structlog
from openai import AsyncOpenAI

from shared.json_types import JsonObject
from shared.redis import keyspace

UPDATE_SECONDS = 15.0
"""How often a worker checks whether there is a fresh list."""
FRESH_SECONDS = 300
"""How long a list is used before it is read again."""
KEPT_SECONDS = 86_400
"""How long the last list is kept while the provider is away."""
ANSWER_SECONDS = 10.0
MAX_MODELS = 2_000
MAX_CREATED = 2**53
"""In seconds since 1970. Readers of JSON do not agree on larger numbers."""

log = structlog.get_logger(__name__)


class ModelListUpdater:
    """Keeps the list of models in Redis fresh."""

    def __init__(self, client: "redis.asyncio.Redis", provider: AsyncOpenAI) -> None:
        """Keep the clients; `provider` has the operator's key."""
        self._redis = client
        self._provider = provider

    async def run(self) -> None:
        """Keep the list fresh for as long as the process lives. What fails is logged, and tried again."""
        while True:
            try:
                await self.update()
            except Exception as error:  # noqa: BLE001 - a task's boundary: whatever a provider answers, no worker ends over it
                log.warning("model_list.not_updated", error=str(error) or type(error).__name__)
            await asyncio.sleep(UPDATE_SECONDS)

    async def update(self) -> None:
        """Read the list if it is missing or old, and no other worker is reading it.

        Raises:
            RedisError, OSError: it could not be stored.
            Exception: it could not be read, for any reason of the provider's.
        """
        if await self._redis.exists(keyspace.MODELS_KEY) and await self._redis.exists(keyspace.MODELS_FRESH_KEY):
            return
        if await self._redis.set(keyspace.MODELS_FRESH_KEY, b"1", nx=True, ex=FRESH_SECONDS) is None:
            await self._wait_for_another()
            return
        is_updated = False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                models = [_model(model.to_dict()) async for model in self._provider.models.list()]
            await self._redis.set(keyspace.MODELS_KEY, orjson.dumps(models[:MAX_MODELS]), ex=KEPT_SECONDS)
            is_updated = True
        finally:
            if not is_updated:  # soon again, but not by all at once
                await self._redis.expire(keyspace.MODELS_FRESH_KEY, int(UPDATE_SECONDS))

    async def _wait_for_another(self) -> None:
        """Leave the list to the worker that reads it; if that one died over it, let the next check read it."""
        if await self._redis.ttl(keyspace.MODELS_FRESH_KEY) > FRESH_SECONDS - UPDATE_SECONDS:
            return
        if not await self._redis.exists(keyspace.MODELS_KEY):
            await self._redis.delete(keyspace.MODELS_FRESH_KEY)


def _model(listed: JsonObject) -> JsonObject:
    """Return the fields that OpenAI's models have, and nothing else that a provider lists."""
    created = listed.get("created")
    return {
        "id": str(listed.get("id")),
        "object": "model",
        "created": created if isinstance(created, int) and 0 <= created < MAX_CREATED else 0,
        "owned_by": str(listed.get("owned_by") or "provider"),
    }
