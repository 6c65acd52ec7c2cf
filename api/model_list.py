"""The provider's models, as a worker last read them: the API itself never speaks to a provider."""

import time
from typing import Any

import orjson
import structlog

from api.context import Context
from shared import keyspace
from shared.redis_clients import RedisError

FRESH_SECONDS = 5.0
"""How long a process believes what it has read."""

log = structlog.get_logger(__name__)


class _Memory:
    """What this process has read last."""

    models: tuple[dict[str, Any], ...] = ()
    until = 0.0


def models(context: Context) -> list[dict[str, Any]]:
    """Tell the models; none where no worker could read them yet."""
    if time.monotonic() >= _Memory.until:
        try:
            told: Any = context.redis.get(keyspace.MODELS_KEY)
        except RedisError as error:
            log.warning("models.redis_away", error=str(error))
        else:
            _Memory.models = tuple(orjson.loads(told)) if told else ()
        _Memory.until = time.monotonic() + FRESH_SECONDS
    return list(_Memory.models)
