"""Reads which models the provider has, and tells the API processes through Redis; one worker at a time is enough."""

import asyncio
from typing import Any

import orjson
import redis.asyncio
import structlog
from openai import AsyncOpenAI

from shared import keyspace

LOOK_SECONDS = 15.0
"""How often a worker looks whether there is a list."""
FRESH_SECONDS = 300
"""How long a list is believed before it is read again."""
KEPT_SECONDS = 86_400
"""How long the last list is told while the provider is away."""
ANSWER_SECONDS = 10.0
MAX_MODELS = 2_000
MAX_MOMENT = 2**53
"""In seconds since 1970; a larger number is none that JSON's readers agree on."""

log = structlog.get_logger(__name__)


class ModelList:
    """Keeps the list of models in Redis."""

    def __init__(self, client: "redis.asyncio.Redis", provider: AsyncOpenAI) -> None:
        """Prepare; `provider` is asked with the operator's key."""
        self._redis = client
        self._provider = provider

    async def keep(self) -> None:
        """Keep the list fresh for as long as the process lives. What goes wrong is logged, and tried again."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - whatever a provider answers where others have a list, no worker ends over it
                log.warning("models.not_read", error=str(error) or type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Read the list if it is missing or old, and nobody else is at it.

        Raises:
            RedisError, OSError: it could not be told.
            Exception: it could not be had, for a reason of the provider's.
        """
        if await self._redis.exists(keyspace.MODELS_KEY) and await self._redis.exists(keyspace.MODELS_FRESH_KEY):
            return
        if await self._redis.set(keyspace.MODELS_FRESH_KEY, b"1", nx=True, ex=FRESH_SECONDS) is None:
            return await self._wait_for_another()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                listed = [_told(model.to_dict()) async for model in self._provider.models.list()]
            await self._redis.set(keyspace.MODELS_KEY, orjson.dumps(listed[:MAX_MODELS]), ex=KEPT_SECONDS)
        except BaseException:
            await self._redis.expire(keyspace.MODELS_FRESH_KEY, int(LOOK_SECONDS))  # soon again, but not by all at once
            raise
        return None

    async def _wait_for_another(self) -> None:
        """Another worker reads it; one that died over it holds us up no longer than it takes to look twice."""
        if await self._redis.ttl(keyspace.MODELS_FRESH_KEY) > FRESH_SECONDS - LOOK_SECONDS:
            return
        if not await self._redis.exists(keyspace.MODELS_KEY):
            await self._redis.delete(keyspace.MODELS_FRESH_KEY)


def _told(model: dict[str, Any]) -> dict[str, Any]:
    """Keep of a model what OpenAI's own have."""
    created = model.get("created")
    return {
        "id": str(model.get("id")),
        "object": "model",
        "created": created if isinstance(created, int) and 0 <= created < MAX_MOMENT else 0,
        "owned_by": str(model.get("owned_by") or "provider"),
    }
