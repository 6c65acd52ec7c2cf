"""Hears what becomes of this worker's asks: one subscription for all of them, told apart by the ask's id.

News may be lost: who waits for an outcome also looks for it now and then.
"""

import asyncio
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared import keyspace
from shared.agents import presence
from shared.agents.presence import News

POLL_SECONDS = 1.0
SILENCE_SECONDS = 5.0
AWAY_SECONDS = 0.2

log = structlog.get_logger(__name__)


class Waiting:
    """What one ask has heard. Lives on the event loop."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.heard: set[News] = set()
        self._news = asyncio.Event()

    def hear(self, news: News) -> None:
        """Take in news."""
        self.heard.add(news)
        self._news.set()

    async def next(self, seconds: float) -> None:
        """Wait for news, but not longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()


class AgentNews:
    """The news of all asks of one worker process."""

    def __init__(self, worker_id: str) -> None:
        """Prepare; `listen` hears."""
        self._channel = keyspace.agent_news_channel(worker_id)
        self._waiting: dict[str, Waiting] = {}

    def expect(self, ask_id: str) -> Waiting:
        """Keep the news of an ask from now on, until they are not wanted any more."""
        self._waiting[ask_id] = Waiting()
        return self._waiting[ask_id]

    def forget(self, ask_id: str) -> None:
        """Drop the news of an ask."""
        del self._waiting[ask_id]

    async def listen(self, client: "redis.asyncio.Redis") -> None:
        """Hear news for ever, with a client of no time-out of its own."""
        while True:
            try:
                await self._subscribed(client)
            except (RedisError, OSError) as error:
                log.warning("agent.redis_away", error=str(error))
            except Exception:
                log.exception("agent.news_broken")  # and on: asks look for their outcomes themselves, but later
            await asyncio.sleep(AWAY_SECONDS)

    async def _subscribed(self, client: "redis.asyncio.Redis") -> None:
        loop = asyncio.get_running_loop()
        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(self._channel)
            heard = loop.time()
            while True:
                message = await pubsub.get_message(timeout=POLL_SECONDS)
                if message is not None:
                    heard = loop.time()
                    self._hear(message)
                elif loop.time() - heard > SILENCE_SECONDS:
                    raise RedisTimeoutError(f"Redis was silent for {SILENCE_SECONDS:g} s.")
                else:
                    await pubsub.ping()

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            news, ask_id = presence.heard_news(message["data"])
            if waiting := self._waiting.get(ask_id):
                waiting.hear(news)
