"""Listens for cancels: one subscription per process. A message that is lost is made up for by the next renewal."""

import asyncio

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from shared import keyspace
from workers.lease.lease import Leases

POLL_SECONDS = 5.0
AWAY_SECONDS = 0.5

log = structlog.get_logger(__name__)


async def listen(client: "redis.asyncio.Redis", holds: Leases) -> None:
    """Pass every cancel on to the job it names, for ever."""
    while True:
        try:
            await _subscribed(client, holds)
        except (RedisError, OSError) as error:
            log.warning("cancel.redis_away", error=str(error))
            await asyncio.sleep(AWAY_SECONDS)


async def _subscribed(client: "redis.asyncio.Redis", holds: Leases) -> None:
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(keyspace.CANCEL_CHANNEL)
        while True:
            message = await pubsub.get_message(timeout=POLL_SECONDS)
            if message is not None:
                holds.cancel(message["data"].decode())
            else:
                await pubsub.ping()
