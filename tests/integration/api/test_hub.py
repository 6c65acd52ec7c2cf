"""The hub on a real Redis: one connection for all readers, and no reader that takes itself for subscribed when it is not."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import redis

from api.streaming import subscription
from api.streaming.hub import Hub
from api.streaming.subscription import Subscription
from dev.testing.stack import Redis, wait_until
from shared import events
from shared.events import Event
from shared.pubsub import policy
from shared.redis import keyspace, redis_clients
from tests.integration.entries import begun, delta
from tests.integration.readers import readers_of

THREADS = 16


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that soon notices that it must stop."""
    monkeypatch.setattr(policy, "READ_SECONDS", 0.05)


@pytest.fixture
def hub(empty_redis: Redis) -> Iterator[Hub]:
    with redis_clients.subscriber(empty_redis.url) as subscriber:
        made = Hub(subscriber)
        yield made
        close(made)


def close(hub: Hub) -> None:
    hub.close()
    if hub._thread is not None:
        hub._thread.join(5)
        assert not hub._thread.is_alive()


def publish(redis_client: redis.Redis, job: str, *published: Event) -> int:
    return int(redis_client.publish(keyspace.live_channel(job), events.pack(list(published))))


def until_confirmed(*readers: Subscription) -> None:
    """Wait until each must read the log, which is what a confirmation means."""
    for reader in readers:
        wait_until(reader.must_read, "a subscription to be confirmed", 5)


def received(reader: Subscription, count: int) -> list[Event]:
    """Take so many events."""
    events_so_far: list[Event] = []

    def enough() -> bool:
        events_so_far.extend(reader.received())
        return len(events_so_far) >= count

    wait_until(enough, f"{count} events", 5)
    return events_so_far


def pubsub_connections(redis_client: redis.Redis) -> int:
    return len(redis_client.client_list(_type="pubsub"))


def cut_off(redis_client: redis.Redis) -> None:
    """Kill every pub/sub connection."""
    redis_client.client_kill_filter(_type="pubsub")


def test_a_subscription_is_confirmed_and_then_receives(hub: Hub, redis_client: redis.Redis) -> None:
    with hub.subscription("job_1") as reader:
        until_confirmed(reader)
        publish(redis_client, "job_1", *begun(3))
        publish(redis_client, "job_2", *begun(9))
        publish(redis_client, "job_1", delta(1, 4))

        assert received(reader, 4) == begun(4)
        assert not reader.must_read()


def test_a_second_reader_is_confirmed_without_asking_redis(hub: Hub, redis_client: redis.Redis) -> None:
    with hub.subscription("job_1") as first:
        until_confirmed(first)
        with hub.subscription("job_1") as second:
            assert second.must_read()
            publish(redis_client, "job_1", *begun(2))
            assert received(first, 2) == received(second, 2) == begun(2)


def test_many_readers_of_few_jobs_share_one_connection(hub: Hub, redis_client: redis.Redis) -> None:
    jobs = [f"job_{number}" for number in range(5)]
    with ExitStack() as stack:
        readers = {job: [stack.enter_context(hub.subscription(job)) for _ in range(40)] for job in jobs}
        until_confirmed(*(reader for some in readers.values() for reader in some))
        assert pubsub_connections(redis_client) == 1
        assert (readers_of(hub), sorted(hub.followed())) == (200, jobs)

        for seq in range(1, 101):
            for job in jobs:
                publish(redis_client, job, delta(1, seq))
        for some in readers.values():
            assert [[event.seq for event in received(reader, 100)] for reader in some] == [list(range(1, 101))] * 40

    assert (readers_of(hub), hub.followed()) == (0, [])
    wait_until(lambda: publish(redis_client, jobs[0], delta(1, 1)) == 0, "the last to unsubscribe", 5)


def storm(hub: Hub, redis_client: redis.Redis, rounds: int = 100) -> None:
    """Come and go from many threads; whichever is confirmed must receive what is published then."""

    def come_and_go(number: int) -> None:
        for turn in range(rounds):
            job = f"job_{(number + turn) % 4}"
            with hub.subscription(job) as reader:
                if turn % 10 == 0:
                    until_confirmed(reader)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(come_and_go, range(THREADS)))


def test_a_storm_of_comings_and_goings_leaves_everything_as_it_was(hub: Hub, redis_client: redis.Redis) -> None:
    storm(hub, redis_client)

    assert (readers_of(hub), hub.followed()) == (0, [])
    wait_until(lambda: set(hub._listener._unconfirmed.values()) <= {0}, "every confirmation", 5)
    assert pubsub_connections(redis_client) == 1
    with hub.subscription("job_0") as reader:
        until_confirmed(reader)
        publish(redis_client, "job_0", *begun(2))
        assert received(reader, 2) == begun(2)


def test_a_storm_with_a_failing_connection_ends_in_order(hub: Hub, redis_client: redis.Redis) -> None:
    stop = threading.Event()

    def cut_off_now_and_then() -> None:
        while not stop.wait(0.02):
            cut_off(redis_client)

    cutter = threading.Thread(target=cut_off_now_and_then)
    cutter.start()
    storm(hub, redis_client, 40)
    stop.set()
    cutter.join()

    with hub.subscription("job_0") as reader:
        until_confirmed(reader)
        publish(redis_client, "job_0", *begun(2))
        assert received(reader, 2) == begun(2)
    assert pubsub_connections(redis_client) == 1


def test_a_subscription_that_comes_again_before_the_first_is_confirmed_waits_for_its_own(
    hub: Hub, redis_client: redis.Redis
) -> None:
    with hub.subscription("job_0") as other:
        until_confirmed(other)
        redis_client.execute_command("CLIENT", "PAUSE", 1500)
        with hub.subscription("job_1"):
            pass
        with hub.subscription("job_1") as reader:
            assert not reader.must_read()
            until_confirmed(reader)
            assert publish(redis_client, "job_1", *begun(2)) == 1
            assert received(reader, 2) == begun(2)


def test_after_a_cut_every_reader_is_sent_to_the_log(hub: Hub, redis_client: redis.Redis) -> None:
    with hub.subscription("job_1") as one, hub.subscription("job_2") as other:
        until_confirmed(one, other)
        cut_off(redis_client)
        until_confirmed(one, other)

        publish(redis_client, "job_2", *begun(2))
        assert received(other, 2) == begun(2)


def test_a_reader_is_woken_by_what_it_receives(hub: Hub, redis_client: redis.Redis) -> None:
    with hub.subscription("job_1") as reader:
        until_confirmed(reader)
        reader.wait(0)
        threading.Timer(0.05, publish, (redis_client, "job_1", *begun(1))).start()
        before = time.monotonic()
        reader.wait(20)

        assert time.monotonic() - before < 10
        assert received(reader, 1) == begun(1)


def test_a_slow_reader_is_sent_to_the_log(hub: Hub, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "QUEUE_EVENTS", 10)
    with hub.subscription("job_1") as slow:
        until_confirmed(slow)
        for seq in range(1, 31):
            publish(redis_client, "job_1", delta(1, seq))
        with hub.subscription("job_2") as other:
            until_confirmed(other)  # the listener has passed on all that came before

        assert list(slow.received()) == []
        assert slow.must_read()
        publish(redis_client, "job_1", delta(1, 31))
        assert received(slow, 1) == [delta(1, 31)]


def test_an_empty_message_sends_to_the_log(hub: Hub, redis_client: redis.Redis) -> None:
    with hub.subscription("job_1") as reader:
        until_confirmed(reader)
        publish(redis_client, "job_1")

        until_confirmed(reader)


def test_a_malformed_message_does_no_harm(hub: Hub, redis_client: redis.Redis) -> None:
    with hub.subscription("job_1") as reader:
        until_confirmed(reader)
        redis_client.publish(keyspace.live_channel("job_1"), "no event")
        until_confirmed(reader)

        publish(redis_client, "job_1", *begun(2))
        assert received(reader, 2) == begun(2)


def test_readers_learn_that_their_job_is_over(hub: Hub) -> None:
    with hub.subscription("job_1") as one, hub.subscription("job_2") as other:
        hub.end(["job_1", "job_of_nobody"])

        assert (one.over, other.over) == (True, False)


def test_readers_learn_that_the_process_stops(hub: Hub) -> None:
    with hub.subscription("job_1") as reader:
        until_confirmed(reader)
        hub.close()

        wait_until(lambda: reader.closing, "the reader to be closed", 5)


def test_readers_that_come_while_the_process_stops_learn_it_too(hub: Hub) -> None:
    with hub.subscription("job_1"):
        close(hub)
    with hub.subscription("job_1") as late:
        wait_until(lambda: late.closing, "the reader to be closed", 1)


def test_a_redis_that_comes_late_is_found(empty_redis: Redis) -> None:
    pool = redis_clients.subscriber("redis://127.0.0.1:1/0")
    hub = Hub(pool)
    with hub.subscription("job_1") as reader:
        time.sleep(0.2)
        assert not reader.must_read()
        pool.connection_pool.connection_kwargs["port"] = empty_redis.port
        until_confirmed(reader)
    close(hub)
    pool.close()


def test_a_connection_that_fails_while_the_listener_is_busy_is_noticed(hub: Hub, redis_client: redis.Redis) -> None:
    with hub.subscription("job_1") as reader:
        until_confirmed(reader)
        with hub._lock:
            publish(redis_client, "job_1", delta(1, 1))
            time.sleep(0.1)  # the listener now has a message in its hands, and waits for the lock
            cut_off(redis_client)
            for _ in range(4):
                hub._listener.subscribe(keyspace.live_channel("job_2"))
                time.sleep(0.02)

        until_confirmed(reader)


def test_nothing_is_remembered_of_jobs_that_nobody_follows(hub: Hub) -> None:
    for number in range(10):
        with hub.subscription(f"job_{number}") as first:
            until_confirmed(first)
            with hub.subscription(f"job_{number}"):
                pass

    assert len(hub._listener._unconfirmed) == 0


def test_a_queue_that_overflows_while_it_is_read_does_no_harm() -> None:
    reader = Subscription()
    reader.confirm(True)
    reader.must_read()

    class Emptied(deque[Event]):
        def __bool__(self) -> bool:
            there = len(self) > 0
            self.clear()
            return there

    reader._waiting = Emptied([delta(1, 1)])
    assert len(list(reader.received())) <= 1
