"""The provider's models, as a worker last read them: the API itself never connects to a provider."""

import time

import orjson
import structlog
from redis import Redis

from shared.json_types import JsonObject
from shared.redis import keyspace
from shared.redis.redis_clients import RedisError

FRESH_SECONDS = 5.0
"""How long a list is kept in memory before Redis is asked again."""

log = structlog.get_logger(__name__)


class ModelList:
    """The list of models in Redis, kept in memory for a few seconds."""

    def __init__(self, redis: Redis) -> None:
        """Keep the client; nothing is read yet."""
        self._redis = redis
        self._models: tuple[JsonObject, ...] = ()
        self._fresh_until = 0.0

    def models(self) -> list[JsonObject]:
        """Return the models; none where no worker could read them yet. While Redis is away, the last list is returned."""
        if time.monotonic() >= self._fresh_until:
            try:
                stored = self._redis.get(keyspace.MODELS_KEY)
            except RedisError as error:
                log.warning("model_list.redis_away", error=str(error))
            else:
                self._models = tuple(orjson.loads(stored)) if isinstance(stored, bytes) else ()
            self._fresh_until = time.monotonic() + FRESH_SECONDS
        return list(self._models)
