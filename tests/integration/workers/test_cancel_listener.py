"""The cancel listener on a real Redis: it passes cancels on and nothing else, and notices when Redis falls silent."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from dev.testing.stack import Redis, wait_until
from shared.pubsub import policy
from shared.redis import keyspace, redis_clients
from tests.integration.loop_thread import running
from tests.integration.silent_proxy import SilentProxy
from workers.lease import cancel_listener
from workers.lease.leases import Leases

SOON_SECONDS = 5.0


class RecordedLeases:
    """Stands for a worker's leases; notes what is cancelled."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)


@contextmanager
def cancels(port: int) -> Iterator[list[str]]:
    """Listen, and give what is cancelled."""
    leases = RecordedLeases()

    async def listen() -> None:
        async with redis_clients.nonblocking(f"redis://127.0.0.1:{port}/0", answer_seconds=None) as client:
            await cancel_listener.listen(client, cast("Leases", leases))

    with running(listen()):
        yield leases.cancelled


def until_cancelled(redis: Redis, cancelled: list[str], job_id: str) -> None:
    def is_cancelled() -> bool:
        redis.client.publish(keyspace.CANCEL_CHANNEL, job_id)
        return job_id in cancelled

    wait_until(is_cancelled, "a cancel", SOON_SECONDS)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "READ_SECONDS", 0.05)
    monkeypatch.setattr(policy, "PING_SECONDS", 0.2)


def test_an_idle_listener_cancels_nothing(empty_redis: Redis) -> None:
    with cancels(empty_redis.port) as cancelled:
        until_cancelled(empty_redis, cancelled, "job_1")
        time.sleep(1)  # some pings, and their answers
        assert set(cancelled) == {"job_1"}


def test_cancels_come_again_after_the_connection_was_cut(empty_redis: Redis) -> None:
    with cancels(empty_redis.port) as cancelled:
        until_cancelled(empty_redis, cancelled, "job_1")
        empty_redis.client.client_kill_filter(_type="pubsub")
        until_cancelled(empty_redis, cancelled, "job_2")


def test_cancels_come_again_after_redis_fell_silent(empty_redis: Redis) -> None:
    with SilentProxy(empty_redis.port) as proxy, cancels(proxy.port) as cancelled:
        until_cancelled(empty_redis, cancelled, "job_1")
        assert proxy.silence() == 1
        until_cancelled(empty_redis, cancelled, "job_2")
