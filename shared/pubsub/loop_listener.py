"""The listener for an event loop."""

import asyncio
from collections.abc import Callable

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from shared.pubsub import policy
from shared.pubsub.policy import LogEvents, Retries, Silence

log = structlog.get_logger(__name__)


class LoopListener:
    """A listener for an event loop, with one channel."""

    def __init__(
        self, client: "redis.asyncio.Redis", log_events: LogEvents, channel: str, on_message: Callable[[bytes], None]
    ) -> None:
        """Keep what is needed to connect; `run` does.

        Args:
            client: has no time-out for answers of its own.
            log_events: how to log what goes wrong.
            channel: where to listen.
            on_message: takes what was published.
        """
        self._client = client
        self._log_events = log_events
        self._channel = channel
        self._on_message = on_message

    async def run(self) -> None:
        """Listen for ever."""
        retries = Retries()
        while True:
            try:
                await self._receive(retries)
            except (RedisError, OSError) as error:
                log.warning(self._log_events.redis_away, error=str(error))
            except Exception:  # the boundary of a task: what it serves would be cut off for good
                log.exception(self._log_events.broken)
            await asyncio.sleep(retries.seconds())

    async def _receive(self, retries: Retries) -> None:
        async with self._client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            silence = Silence()
            while True:
                message = await pubsub.get_message(timeout=policy.READ_SECONDS)
                if message is None:
                    if silence.needs_ping():
                        await pubsub.ping()
                    continue
                silence.end()
                if message["type"] == "subscribe":
                    retries.reset()
                elif message["type"] == "message":
                    self._on_message(message["data"])
