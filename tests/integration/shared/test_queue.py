"""The doorbell on a real broker: what is sent, and what happens when nobody takes it."""

import base64
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from dev.testing.stack import Redis
from shared.config import Settings
from shared.queue import RUN_TASK, Queue
from shared.redis import doorbell, keyspace


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Redis]:
    """A broker that may be hurt."""
    server = Redis(tmp_path)
    yield server
    server.close()


@pytest.fixture
def queue(broker: Redis, config: Settings) -> Iterator[Queue]:
    made = Queue(config.model_copy(update={"redis_url": broker.url}))
    yield made
    made.close()


def messages(broker: Redis) -> list[dict[str, Any]]:
    raw: Any = broker.client.lrange(keyspace.DOORBELL_QUEUE, 0, -1)
    return [orjson.loads(message) for message in raw]


def test_a_message_is_a_job_id_and_nothing_else(broker: Redis, queue: Queue) -> None:
    assert queue.send("job_1")
    (message,) = messages(broker)

    assert message["headers"]["task"] == RUN_TASK
    assert message["headers"]["argsrepr"] == "('job_1',)"
    assert broker.client.keys() == [keyspace.DOORBELL_QUEUE.encode()]


def test_a_message_is_what_celery_would_send(broker: Redis, queue: Queue) -> None:
    queue.celery.send_task(RUN_TASK, args=("job_1",), ignore_result=True)
    queue.send("job_1")
    ours, celerys = messages(broker)

    for message in (ours, celerys):
        assert message["headers"]["id"] == message["headers"]["root_id"] == message["properties"]["correlation_id"]
        for part, names in {"headers": ("id", "root_id"), "properties": ("correlation_id", "reply_to", "delivery_tag")}.items():
            for name in names:
                assert uuid.UUID(message[part].pop(name))
        message["body"] = orjson.loads(base64.b64decode(message["body"]))
    assert ours == celerys


def test_rings_that_gathered_go_out_together(broker: Redis, queue: Queue) -> None:
    before = broker.client.info("commandstats")
    for number in range(50):
        queue.ring(f"job_{number}")
    queue.flush(5)
    after = broker.client.info("commandstats")

    assert len(messages(broker)) == 50
    assert after["cmdstat_lpush"]["calls"] - before.get("cmdstat_lpush", {"calls": 0})["calls"] < 50


def test_a_broker_that_was_just_emptied_takes_messages(broker: Redis, queue: Queue) -> None:
    queue.send("job_1")
    broker.client.flushall()

    assert queue.send("job_2")
    assert len(messages(broker)) == 1


def test_a_broker_that_is_away_costs_no_more_than_a_moment(broker: Redis, queue: Queue) -> None:
    queue.send("job_1")
    broker.process.kill()
    before = time.monotonic()

    assert not queue.send("job_2")
    assert time.monotonic() - before < 3
    broker.start()
    assert queue.send("job_3")


def test_a_broker_that_is_full_takes_nothing_and_harms_nobody(broker: Redis, queue: Queue) -> None:
    broker.client.config_set("maxmemory", "1")
    assert not queue.send("job_1")

    broker.client.config_set("maxmemory", "0")
    assert queue.send("job_2")


def test_a_broker_that_may_only_be_read_takes_nothing(broker: Redis, queue: Queue) -> None:
    """As one is in the middle of a fail-over."""
    broker.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    assert not queue.send("job_1")

    broker.client.execute_command("REPLICAOF", "NO", "ONE")
    assert queue.send("job_2")


def test_two_queues_of_one_process_ring_at_their_own_brokers(
    broker: Redis, queue: Queue, config: Settings, empty_redis: Redis
) -> None:
    other = Queue(config)
    queue.ring("job_1")
    other.ring("job_2")
    for each in (queue, other):
        each.flush(5)
    other.close()

    assert [message["headers"]["argsrepr"] for message in messages(broker)] == ["('job_1',)"]
    assert [message["headers"]["argsrepr"] for message in messages(empty_redis)] == ["('job_2',)"]


def test_a_surprise_does_not_end_the_ringing(broker: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    message = doorbell.message
    monkeypatch.setattr(doorbell, "message", lambda *_: 1 / 0)
    queue.ring("job_1")
    queue.flush(5)
    monkeypatch.setattr(doorbell, "message", message)
    queue.ring("job_2")
    queue.flush(5)

    assert [message["headers"]["argsrepr"] for message in messages(broker)] == ["('job_2',)"]
