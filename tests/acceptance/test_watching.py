"""A worker tells what it does to those who watch, as Flower does, and to nobody else."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dev.testing.client import Client
from dev.testing.stack import SECRET_KEY, Redis, Stack, running, wait_until
from shared.config import Settings
from shared.queue import make_celery

MODEL = "demo?tokens=1&first_ms=0"
EVENTS_CHANNEL = "/0.celeryev*"
"""The channels on which Celery publishes events through Redis, in database 0; their names end with the kind of event."""
QUIET_SECONDS = 1.5
"""Events are published together, at least every second."""


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory, empty_redis: Redis, database_url: str) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("watching")
    with running(Stack(folder, empty_redis.url, database_url), workers=1) as started:
        yield started


def test_events_of_tasks_come_once_somebody_watches(stack: Stack, empty_redis: Redis) -> None:
    app = make_celery(Settings(secret_key=SECRET_KEY, redis_url=empty_redis.url))
    received: list[str] = []

    def take(event: dict[str, Any]) -> None:
        received.append(event["type"])

    with Client(stack.url) as client, app.connection() as connection, empty_redis.client.pubsub() as unwatched:
        unwatched.psubscribe(EVENTS_CHANNEL)
        client.finished(client.submit(model=MODEL)["id"])
        published = [message["channel"] for message in iter(lambda: unwatched.get_message(timeout=QUIET_SECONDS), None)]
        assert [channel for channel in published if b"task" in channel] == []

        receiver = app.events.Receiver(connection, handlers={"*": take})
        watching = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None, "wakeup": False}, daemon=True)
        watching.start()
        wait_until(lambda: app.control.enable_events(reply=True, timeout=1.0), "the worker to be told that somebody watches")
        client.finished(client.submit(model=MODEL)["id"])
        wait_until(lambda: {"task-received", "task-succeeded"} <= set(received), "the events of the second job's task")
        receiver.should_stop = True
    app.close()
