"""The one script that writes logs, on a real Redis: every answer it can give, and what it leaves."""

from collections.abc import Iterator

import pytest
import redis

from shared import events
from shared.events import Event
from shared.log import stream
from shared.log.stream import Write, WriteVerdict
from shared.redis import keyspace
from tests.integration.entries import EXPIRY_MS, JOB, Listener, begun, clock_us, completed, delta, logged, restarted, started, write

KEY = keyspace.log_key(JOB)
OK, HOLE, FENCED, CLOSED, LAPSED = WriteVerdict.OK, WriteVerdict.HOLE, WriteVerdict.FENCED, WriteVerdict.CLOSED, WriteVerdict.LAPSED


@pytest.fixture
def listener(redis_client: redis.Redis) -> Iterator[Listener]:
    made = Listener(redis_client)
    yield made
    made.close()


def test_entries_follow_one_another(redis_client: redis.Redis) -> None:
    assert write(redis_client, begun(2)) == (OK, "1-2")
    assert write(redis_client, [delta(1, 3), delta(1, 4)], "1-2") == (OK, "1-4")
    assert write(redis_client, [restarted(2, 5)], "1-4") == (OK, "2-5")

    assert logged(redis_client) == [*begun(4), restarted(2, 5)]


def test_a_write_whose_answer_was_lost_may_be_repeated(redis_client: redis.Redis, listener: Listener) -> None:
    write(redis_client, begun(1))
    batch = [delta(1, 2), delta(1, 3)]

    assert [write(redis_client, batch, "1-1"), write(redis_client, batch, "1-1")] == [(OK, "1-3")] * 2
    assert logged(redis_client) == begun(3)
    assert len(listener.received()) == 2


def test_of_a_batch_that_is_written_in_part_only_the_rest_is_written(redis_client: redis.Redis, listener: Listener) -> None:
    write(redis_client, begun(3))
    listener.received()

    assert write(redis_client, [delta(1, 2), delta(1, 3), delta(1, 4), delta(1, 5)], "1-1") == (OK, "1-5")
    assert logged(redis_client) == begun(5)
    assert listener.received() == [events.pack([delta(1, 4), delta(1, 5)])]


@pytest.mark.parametrize("before", [0, 2])
def test_entries_that_do_not_follow_are_refused_with_the_tail(redis_client: redis.Redis, before: int) -> None:
    if before:
        write(redis_client, begun(before))

    tail = f"1-{before}" if before else "0-0"
    assert write(redis_client, [delta(1, 5)], "1-4") == (HOLE, tail)
    assert len(logged(redis_client)) == before


def test_a_foreign_tail_is_a_hole(redis_client: redis.Redis) -> None:
    write(redis_client, begun(7))

    assert write(redis_client, [delta(2, 7)], "2-6") == (HOLE, "1-7")


def test_a_tail_of_ones_own_that_is_further_on_is_a_hole(redis_client: redis.Redis) -> None:
    write(redis_client, begun(7))

    assert write(redis_client, [delta(1, 3), delta(1, 4)], "1-2") == (HOLE, "1-7")


def test_a_later_attempt_fences_an_earlier_one(redis_client: redis.Redis) -> None:
    write(redis_client, begun(3))
    write(redis_client, [restarted(2, 4)], "1-3")

    assert write(redis_client, [delta(1, 4)], "1-3") == (FENCED, "2-4")
    assert write(redis_client, begun(3), rewrite=True) == (FENCED, "2-4")
    assert write(redis_client, [], "1-3", attempt=1) == (FENCED, "2-4")
    assert logged(redis_client)[-1] == restarted(2, 4)


@pytest.mark.parametrize("attempt", [1, 2])
def test_nothing_follows_the_end(redis_client: redis.Redis, attempt: int) -> None:
    write(redis_client, [*begun(2), completed(1, 3)])

    assert write(redis_client, [delta(attempt, 4)], "1-3") == (CLOSED, "1-3")
    assert write(redis_client, [delta(attempt, 4)], "1-2") == (CLOSED, "1-3")
    assert write(redis_client, begun(2), rewrite=True, attempt=attempt) == (CLOSED, "1-3")
    assert logged(redis_client)[-1] == completed(1, 3)


@pytest.mark.parametrize("kind", sorted(events.TERMINAL))
def test_every_terminal_type_closes(redis_client: redis.Redis, kind: str) -> None:
    write(redis_client, [started(), events.make(1, 2, kind, {})])

    assert write(redis_client, [delta(1, 3)], "1-2").verdict is CLOSED


def test_the_end_may_be_repeated(redis_client: redis.Redis) -> None:
    write(redis_client, begun(2))
    end = [completed(1, 3)]

    assert [write(redis_client, end, "1-2"), write(redis_client, end, "1-2"), write(redis_client, [], "1-3")] == [(OK, "1-3")] * 3
    assert len(logged(redis_client)) == 3


def test_a_lease_that_has_run_out_by_the_clock_of_redis_writes_nothing(redis_client: redis.Redis) -> None:
    write(redis_client, begun(2))
    now = clock_us(redis_client)

    assert write(redis_client, [delta(1, 3)], "1-2", lease_us=now - 1) == (LAPSED, "1-2")
    assert write(redis_client, begun(2), rewrite=True, lease_us=now - 1) == (LAPSED, "1-2")
    assert write(redis_client, [], "1-2", lease_us=now - 1) == (LAPSED, "1-2")
    assert write(redis_client, [delta(1, 3)], "1-2", lease_us=now + 60_000_000) == (OK, "1-3")


def test_a_rewrite_replaces_all_and_keeps_the_ids(redis_client: redis.Redis) -> None:
    write(redis_client, begun(9))
    mine = [*begun(4), restarted(2, 5), delta(2, 6)]

    assert write(redis_client, mine, rewrite=True) == (OK, "2-6")
    assert logged(redis_client) == mine
    assert write(redis_client, [delta(2, 7)], "2-6") == (OK, "2-7")


def test_a_look_writes_nothing_and_tells_the_tail(redis_client: redis.Redis, listener: Listener) -> None:
    assert write(redis_client, [], "1-1") == (HOLE, "0-0")
    assert not redis_client.exists(KEY)
    write(redis_client, begun(2))
    listener.received()

    assert write(redis_client, [], "1-2") == (OK, "1-2")
    assert write(redis_client, [], "1-1") == (HOLE, "1-2")
    assert listener.received() == []


def test_each_write_sets_the_expiry(redis_client: redis.Redis) -> None:
    write(redis_client, begun(1), expiry_ms=EXPIRY_MS)
    assert 0.9 * EXPIRY_MS < int(redis_client.pttl(KEY)) <= EXPIRY_MS

    write(redis_client, [delta(1, 2)], "1-1", expiry_ms=2 * EXPIRY_MS)
    assert 1.9 * EXPIRY_MS < int(redis_client.pttl(KEY)) <= 2 * EXPIRY_MS

    write(redis_client, begun(2), rewrite=True, expiry_ms=EXPIRY_MS)
    assert 0.9 * EXPIRY_MS < int(redis_client.pttl(KEY)) <= EXPIRY_MS


def test_each_write_is_published_once_and_whole(redis_client: redis.Redis, listener: Listener) -> None:
    nasty = delta(1, 2, 'a\nb \x00 "ä" \\')
    write(redis_client, [started(), nasty])
    write(redis_client, [delta(1, 3)], "1-2")

    assert [events.unpack(message) for message in listener.received()] == [[started(), nasty], [delta(1, 3)]]
    assert logged(redis_client)[1] == nasty


def test_a_rewrite_is_published_as_an_empty_message(redis_client: redis.Redis, listener: Listener) -> None:
    write(redis_client, begun(3), rewrite=True)

    assert listener.received() == [b""]


def test_what_is_refused_is_not_published(redis_client: redis.Redis, listener: Listener) -> None:
    write(redis_client, [delta(1, 5)], "1-4")
    write(redis_client, begun(1), lease_us=1)

    assert listener.received() == []


def test_the_script_goes_by_its_name_once_redis_knows_it(redis_client: redis.Redis) -> None:
    redis_client.script_flush()
    by_name = Write(JOB, 1, stream.EMPTY_TAIL, begun(1), EXPIRY_MS).command(by_sha=True)

    with pytest.raises(redis.exceptions.NoScriptError):
        redis_client.execute_command(*by_name)
    assert redis_client.script_load(stream.WRITE_SCRIPT) == stream.WRITE_SHA
    assert stream.written(redis_client.execute_command(*by_name)).verdict is OK


@pytest.mark.parametrize("count", [stream.PAGE_ENTRIES - 1, stream.PAGE_ENTRIES, stream.PAGE_ENTRIES + 1, 3 * stream.PAGE_ENTRIES])
def test_a_log_is_read_page_by_page(redis_client: redis.Redis, count: int) -> None:
    write(redis_client, begun(count))

    assert [event.seq for event in stream.read(redis_client, JOB)] == list(range(1, count + 1))
    assert [event.seq for event in stream.read(redis_client, JOB, count - 1)] == [count]


def several_attempts() -> list[Event]:
    return [*begun(5), restarted(2, 6), delta(2, 7), restarted(4, 8), delta(4, 9), completed(4, 10)]


@pytest.mark.parametrize("after", range(12))
def test_a_reader_that_knows_no_attempts_gets_what_follows_its_cursor(redis_client: redis.Redis, after: int) -> None:
    write(redis_client, several_attempts())

    assert list(stream.read(redis_client, JOB, after)) == several_attempts()[after:]


def test_a_log_that_is_not_there_is_empty(redis_client: redis.Redis) -> None:
    assert logged(redis_client) == []


def test_a_log_can_be_forgotten(redis_client: redis.Redis) -> None:
    write(redis_client, begun(2))
    redis_client.execute_command(*stream.remove_command(JOB))

    assert not redis_client.exists(KEY)
