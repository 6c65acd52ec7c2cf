"""The two listeners on a real Redis: confirmed, silent, cut off, away, and with callbacks that fail."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from dev.testing.stack import Redis, free_port, wait_until
from shared.pubsub import policy
from shared.pubsub.loop_listener import LoopListener
from shared.pubsub.policy import LogEvents
from shared.pubsub.thread_listener import ThreadListener
from shared.redis import redis_clients
from tests.integration.loop_thread import running
from tests.integration.silent_proxy import SilentProxy

EVENTS = LogEvents(redis_away="test.redis_away", broken="test.broken")
CHANNEL = "channel"
SOON_SECONDS = 5.0

OnMessage = Callable[[bytes], None]
Listening = Callable[[int, OnMessage], AbstractContextManager[None]]
"""Listens on CHANNEL of the Redis at a port for as long as a block lasts."""


@contextmanager
def in_a_thread(port: int, on_message: OnMessage) -> Iterator[None]:
    over = threading.Event()
    with redis_clients.subscriber(f"redis://127.0.0.1:{port}/0") as client:
        listener = ThreadListener(client, EVENTS, on_message=lambda _, message: on_message(message), is_over=over.is_set)
        listener.subscribe(CHANNEL)
        thread = threading.Thread(target=listener.run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(SOON_SECONDS)
            assert not thread.is_alive()


@contextmanager
def on_a_loop(port: int, on_message: OnMessage) -> Iterator[None]:
    async def listen() -> None:
        async with redis_clients.nonblocking(f"redis://127.0.0.1:{port}/0", answer_seconds=None) as client:
            await LoopListener(client, EVENTS, CHANNEL, on_message).run()

    with running(listen()):
        yield


@pytest.fixture(params=[in_a_thread, on_a_loop])
def listening(request: pytest.FixtureRequest) -> Listening:
    flavour: Listening = request.param
    return flavour


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "READ_SECONDS", 0.05)
    monkeypatch.setattr(policy, "PING_SECONDS", 0.2)


def until_subscribed(redis: Redis) -> None:
    wait_until(lambda: redis.client.pubsub_numsub(CHANNEL)[0][1] == 1, "the subscription", SOON_SECONDS)


def until_received(redis: Redis, received: list[bytes], message: bytes) -> None:
    """Publish until it comes: what is published while there is no subscription is lost."""

    def has_come() -> bool:
        redis.client.publish(CHANNEL, message)
        return message in received

    wait_until(has_come, "a message", SOON_SECONDS)


def names(logs: Sequence[Mapping[str, Any]]) -> set[str]:
    return {each["event"] for each in logs}


def test_messages_come_in_order_and_pongs_are_none(listening: Listening, empty_redis: Redis) -> None:
    received: list[bytes] = []
    with capture_logs() as logs, listening(empty_redis.port, received.append):
        until_subscribed(empty_redis)
        for number in range(5):
            empty_redis.client.publish(CHANNEL, number)
            time.sleep(0.3)  # a ping, and its answer
        wait_until(lambda: len(received) >= 5, "the messages", SOON_SECONDS)
    assert received == [b"0", b"1", b"2", b"3", b"4"]
    assert logs == []


def test_a_connection_that_fell_silent_is_given_up(listening: Listening, empty_redis: Redis) -> None:
    received: list[bytes] = []
    with SilentProxy(empty_redis.port) as proxy, capture_logs() as logs, listening(proxy.port, received.append):
        until_received(empty_redis, received, b"before")
        assert proxy.silence() == 1
        until_received(empty_redis, received, b"after")
    assert names(logs) == {"test.redis_away"}


def test_a_connection_that_was_cut_is_replaced(listening: Listening, empty_redis: Redis) -> None:
    received: list[bytes] = []
    with capture_logs() as logs, listening(empty_redis.port, received.append):
        until_received(empty_redis, received, b"before")
        empty_redis.client.client_kill_filter(_type="pubsub")
        until_received(empty_redis, received, b"after")
    assert names(logs) == {"test.redis_away"}


def test_connections_may_be_replaced_any_number_of_times(
    listening: Listening, empty_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # redis-py's pools refuse the hundredth connection that they made
    monkeypatch.setattr(policy, "RETRY_FIRST_SECONDS", 0.001)
    received: list[bytes] = []
    with capture_logs() as logs, listening(empty_redis.port, received.append):
        for _ in range(120):
            until_subscribed(empty_redis)
            empty_redis.client.client_kill_filter(_type="pubsub")
        until_received(empty_redis, received, b"after")
    assert len(logs) >= 100
    assert "Too many connections" not in str(logs)


def test_a_callback_that_fails_ends_nothing(listening: Listening, empty_redis: Redis) -> None:
    received: list[bytes] = []

    def fail_once(message: bytes) -> None:
        received.append(message)
        if message == b"bad":
            raise ValueError(message)

    with capture_logs() as logs, listening(empty_redis.port, fail_once):
        until_received(empty_redis, received, b"bad")
        until_received(empty_redis, received, b"good")
    assert names(logs) == {"test.broken"}


def test_waits_between_connections_are_bounded(listening: Listening) -> None:
    with capture_logs() as logs, listening(free_port(), lambda _: None):
        time.sleep(1.5)
    assert names(logs) == {"test.redis_away"}
    assert 4 <= len(logs) <= 12


def test_a_listener_learns_of_each_confirmation_and_each_loss(empty_redis: Redis) -> None:
    over = threading.Event()
    log: list[str] = []
    with redis_clients.subscriber(empty_redis.url) as client:
        listener = ThreadListener(
            client,
            EVENTS,
            on_message=lambda channel, message: log.append(f"{channel}: {message.decode()}"),
            on_subscribed=lambda channel: log.append(f"{channel} {listener.is_subscribed(channel)}"),
            on_lost=lambda: log.append("lost"),
            is_over=over.is_set,
        )
        listener.subscribe("a")
        assert not listener.is_subscribed("a")
        thread = threading.Thread(target=listener.run)
        thread.start()
        wait_until(lambda: log == ["a True"], "the first confirmation", SOON_SECONDS)
        listener.subscribe("b")
        wait_until(lambda: log[1:] == ["b True"], "the second confirmation", SOON_SECONDS)
        listener.unsubscribe("a")
        assert not listener.is_subscribed("a")
        empty_redis.client.client_kill_filter(_type="pubsub")
        wait_until(lambda: log[2:] == ["lost", "b True"], "the confirmation of what is still subscribed", SOON_SECONDS)
        empty_redis.client.publish("a", "nothing")
        empty_redis.client.publish("b", "something")
        wait_until(lambda: log[4:] == ["b: something"], "a message", SOON_SECONDS)
        over.set()
        thread.join(SOON_SECONDS)
    assert log[5:] == ["lost"]
