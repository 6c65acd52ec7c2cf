"""Our clients of Redis: more commands at once than there are connections wait for one another, and none is refused."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dev.testing.stack import Redis
from shared.redis import redis_clients
from shared.redis.redis_clients import POOL_CONNECTIONS

COMMANDS = 2 * POOL_CONNECTIONS
PAUSE_MS = 300


async def _on_an_event_loop(url: str) -> list[object]:
    async with redis_clients.nonblocking(url) as client:
        return list(await asyncio.gather(*(client.execute_command("ECHO", "x") for _ in range(COMMANDS))))


def _in_threads(url: str) -> list[object]:
    with redis_clients.blocking(url) as client, ThreadPoolExecutor(COMMANDS) as threads:
        return list(threads.map(lambda _: client.execute_command("ECHO", "x"), range(COMMANDS)))


@pytest.mark.parametrize("send", [lambda url: asyncio.run(_on_an_event_loop(url)), _in_threads], ids=["loop", "threads"])
def test_many_commands_at_once_wait_for_a_connection(empty_redis: Redis, send: Callable[[str], list[object]]) -> None:
    empty_redis.client.execute_command("CLIENT", "PAUSE", PAUSE_MS)

    assert send(empty_redis.url) == [b"x"] * COMMANDS
