"""The flusher on a real event loop and a real Redis, which is emptied, killed and lied to meanwhile."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import NoPermissionError

from dev.testing.stack import Redis
from shared import events
from shared.log import epoch
from shared.redis import keyspace, redis_clients, worker_presence
from tests.integration.entries import JOB, Listener, begun, completed, logged, restarted, started, write
from tests.integration.flushing import TICK_SECONDS, flushing, lease_of, on_a_loop, opened, say, until
from workers import clock
from workers.log import flusher as flusher_module
from workers.log.flusher import Flusher
from workers.log.job_log import BATCH_ENTRIES, LogLost, LogMoved


@pytest.fixture(params=[True, False], ids=["persistent", "forgetful"])
def mortal_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Redis]:
    """A Redis that may be killed."""
    server = Redis(tmp_path, persistent=request.param)
    yield server
    server.close()


def calls(server: Redis) -> int:
    """How often the script was called."""
    stats = server.client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


@on_a_loop
async def test_entries_arrive_in_order(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        for _ in range(20):
            say(flusher, log, 5)
            await asyncio.sleep(0)
        await log.flushed()

        assert logged(empty_redis.client) == log.entries
        assert [event.seq for event in log.entries] == list(range(1, 102))


@on_a_loop
async def test_a_lone_entry_waits_for_nobody(empty_redis: Redis) -> None:
    async with flushing(empty_redis, ticks=False) as flusher:
        log = opened(flusher)
        await log.flushed()
        before = time.monotonic()
        say(flusher, log)
        await log.flushed()

        assert time.monotonic() - before < 5


@on_a_loop
async def test_what_comes_at_once_is_written_at_once(empty_redis: Redis) -> None:
    async with flushing(empty_redis, ticks=False) as flusher:
        logs = [opened(flusher, f"job_{number}") for number in range(10)]
        await asyncio.gather(*(log.flushed() for log in logs))
        empty_redis.client.config_resetstat()
        for log in logs:
            say(flusher, log, 100)
        await asyncio.gather(*(log.flushed() for log in logs))

        assert calls(empty_redis) == len(logs)
        assert [len(logged(empty_redis.client, log.lease.job_id)) for log in logs] == [101] * len(logs)


@on_a_loop
async def test_what_comes_within_a_round_is_written_at_once_too(empty_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    async with flushing(empty_redis, ticks=False) as flusher:
        log = opened(flusher)
        await log.flushed()
        monkeypatch.setattr(flusher_module, "ROUND_SECONDS", 2.0)
        empty_redis.client.config_resetstat()
        for _ in range(20):
            say(flusher, log)
            await asyncio.sleep(0.01)
        await log.flushed()

        assert calls(empty_redis) == 1
        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_more_than_a_batch_is_written_in_batches(empty_redis: Redis) -> None:
    async with flushing(empty_redis, ticks=False) as flusher:
        await opened(flusher, "job_first").flushed()  # Redis knows the script from here on
        log = opened(flusher)
        say(flusher, log, 2 * BATCH_ENTRIES)
        empty_redis.client.config_resetstat()
        await log.flushed()

        assert calls(empty_redis) == 3
        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_a_redis_that_dies_loses_nothing(mortal_redis: Redis) -> None:
    async with flushing(mortal_redis) as flusher:
        log = opened(flusher)
        say(flusher, log, 100)
        await log.flushed()
        before = list(log.entries)
        mortal_redis.process.kill()
        say(flusher, log, 100)
        await asyncio.sleep(3 * TICK_SECONDS)
        say(flusher, log, 100)
        await until(lambda: flusher.epoch is None, "the loss to be noticed")

        await asyncio.to_thread(mortal_redis.start)
        await log.flushed()
        assert logged(mortal_redis.client) == log.entries
        assert log.entries[: len(before)] == before
        assert len(log.entries) == 301


@on_a_loop
async def test_a_redis_that_dies_in_silence_is_filled_again(mortal_redis: Redis) -> None:
    async with flushing(mortal_redis) as flusher:
        log = opened(flusher)
        say(flusher, log, 10)
        await log.flushed()
        mortal_redis.process.kill()
        await asyncio.to_thread(mortal_redis.start)

        await until(lambda: logged(mortal_redis.client) == log.entries, "the log to be restored")


@on_a_loop
async def test_a_wipe_in_silence_is_repaired_by_the_tick(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        logs = [opened(flusher, f"job_{number}") for number in range(3)]
        for log in logs:
            say(flusher, log, 10)
            await log.flushed()
        listener = Listener(empty_redis.client, "job_1")
        empty_redis.client.flushall()

        await until(
            lambda: all(logged(empty_redis.client, log.lease.job_id) == log.entries for log in logs), "every log to be restored"
        )
        assert events.unpack(b"\n".join(listener.received())) == logs[1].entries
        listener.close()


@on_a_loop
async def test_a_wipe_between_two_entries_is_repaired_by_the_next(empty_redis: Redis) -> None:
    async with flushing(empty_redis, ticks=False) as flusher:
        log = opened(flusher)
        say(flusher, log, 10)
        await log.flushed()
        empty_redis.client.flushall()
        say(flusher, log)
        await log.flushed()

        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_a_roll_back_is_repaired(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        say(flusher, log, 10)
        await log.flushed()
        empty_redis.client.delete(keyspace.log_key(JOB))
        write(empty_redis.client, log.entries[:4])

        await until(lambda: logged(empty_redis.client) == log.entries, "the log to be restored")


@on_a_loop
async def test_a_redis_that_has_forgotten_the_script_is_told_again(empty_redis: Redis) -> None:
    async with flushing(empty_redis, ticks=False) as flusher:
        log = opened(flusher)
        for _ in range(3):
            empty_redis.client.script_flush()
            say(flusher, log, 2)
            await log.flushed()

        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_a_foreign_tail_is_written_over(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher, attempt=2, found=begun(4), opening=restarted(2, 5))
        write(empty_redis.client, begun(4))
        await log.flushed()
        say(flusher, log, 3)
        await log.flushed()
        empty_redis.client.flushall()
        write(empty_redis.client, begun(9))
        say(flusher, log)

        await until(lambda: logged(empty_redis.client) == log.entries, "the log to be written anew")
        assert [event.id for event in log.entries[-2:]] == ["2-8", "2-9"]


@on_a_loop
async def test_a_later_attempt_ends_an_earlier_one(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        await log.flushed()
        write(empty_redis.client, [restarted(2, 2)], "1-1")
        say(flusher, log)

        with pytest.raises(LogLost):
            await log.flushed()
        assert log.is_lost
        assert logged(empty_redis.client) == [started(), restarted(2, 2)]


@on_a_loop
async def test_a_log_that_is_closed_is_lost_also_in_silence(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        await log.flushed()
        write(empty_redis.client, [completed(2, 2)], "1-1")

        await until(lambda: log.is_lost, "the log to be lost")


@on_a_loop
async def test_an_attempt_that_read_too_early_is_told(empty_redis: Redis) -> None:
    write(empty_redis.client, begun(6))
    async with flushing(empty_redis) as flusher:
        log = opened(flusher, attempt=2, found=begun(4), opening=restarted(2, 5))

        with pytest.raises(LogMoved):
            await log.flushed()
        assert logged(empty_redis.client) == begun(6)


@on_a_loop
async def test_without_a_lease_nothing_is_written_until_it_is_renewed(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        await log.flushed()
        lease_of(log).ends_at = clock.seconds() - 1
        say(flusher, log, 3)
        await asyncio.sleep(3 * TICK_SECONDS)
        assert logged(empty_redis.client) == [started()]
        assert not log.is_lost

        lease_of(log).ends_at = clock.seconds() + 60
        flusher.resume()
        await log.flushed()
        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_a_lease_that_runs_out_on_the_way_writes_nothing(empty_redis: Redis) -> None:
    """The process was stopped between the look at its lease and the write."""
    async with flushing(empty_redis, ticks=False) as flusher:
        log = opened(flusher)
        await log.flushed()
        assert flusher._clock_offset_us is not None
        flusher._clock_offset_us -= 120_000_000  # as if Redis received it two minutes later
        say(flusher, log, 3)
        await asyncio.sleep(0.1)
        assert logged(empty_redis.client) == [started()]

        flusher._clock_offset_us += 120_000_000
        lease_of(log).ends_at = clock.seconds() + 60
        flusher.resume()
        await log.flushed()
        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_a_job_that_is_over_needs_no_lease(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        await log.flushed()
        lease_of(log).ends_at = clock.seconds() - 1
        log.close(completed(1, 2), 5_000)
        flusher.mark_pending(log)
        await log.flushed()

        assert logged(empty_redis.client) == [started(), completed(1, 2)]
        assert 0 < int(empty_redis.client.pttl(keyspace.log_key(JOB))) <= 5_000


@on_a_loop
async def test_what_was_let_go_is_not_written(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        await log.flushed()
        await flusher.release(log)
        say(flusher, log)
        await asyncio.sleep(2 * TICK_SECONDS)

        assert logged(empty_redis.client) == [started()]


@on_a_loop
async def test_the_next_attempt_brings_what_the_one_before_had_not_written(empty_redis: Redis) -> None:
    async with flushing(empty_redis, ticks=False) as flusher:
        log = opened(flusher)
        await log.flushed()
        say(flusher, log, 5)
        lease_of(log).attempt = 2
        log.add(restarted(2, 7, events.PROVIDER_ERROR))
        flusher.mark_pending(log)
        await log.flushed()

        assert logged(empty_redis.client) == log.entries
        assert [event.id for event in log.entries][-2:] == ["1-6", "2-7"]


@on_a_loop
async def test_the_next_attempt_writes_a_foreign_tail_over(empty_redis: Redis) -> None:
    """What this process remembers is the authority from its first attempt on."""
    async with flushing(empty_redis, ticks=False) as flusher:
        log = opened(flusher)
        say(flusher, log, 5)
        await log.flushed()
        empty_redis.client.flushall()
        write(empty_redis.client, [started(), restarted(1, 9)])
        lease_of(log).attempt = 2
        log.add(restarted(2, 7, events.PROVIDER_ERROR))
        flusher.mark_pending(log)
        await log.flushed()

        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_a_log_that_redis_refuses_for_good_does_not_hold_up_the_others(empty_redis: Redis) -> None:
    empty_redis.client.set(keyspace.log_key("job_bad"), "not a log")
    async with flushing(empty_redis) as flusher:
        opened(flusher, "job_bad")
        good = opened(flusher, "job_good")
        say(flusher, good, 3)
        async with asyncio.timeout(2):
            await good.flushed()

        assert logged(empty_redis.client, "job_good") == good.entries


@on_a_loop
async def test_a_full_redis_is_waited_for(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        await log.flushed()
        empty_redis.client.config_set("maxmemory", "1")
        try:
            say(flusher, log, 3)
            await asyncio.sleep(0.2)
            assert log.pending
        finally:
            empty_redis.client.config_set("maxmemory", "0")
        await log.flushed()

        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_the_tick_knows_which_redis_it_is_and_that_every_log_is_whole(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        log = opened(flusher)
        await until(lambda: flusher.epoch, "the first look")
        first = flusher.epoch
        assert first == flusher.seen_epoch == epoch.current(empty_redis.client)
        await until(lambda: worker_presence.is_any_alive(empty_redis.client, TICK_SECONDS), "it to say that it is alive")
        say(flusher, log, 3)
        await log.flushed()
        empty_redis.client.flushall()

        await until(lambda: flusher.epoch not in (first, None), "another life")
        assert flusher.epoch == epoch.current(empty_redis.client)
        assert logged(empty_redis.client) == log.entries


@on_a_loop
async def test_a_long_log_is_not_whole_before_its_last_part_is_written(empty_redis: Redis) -> None:
    client = redis_clients.nonblocking(empty_redis.url)
    flusher = Flusher(client, "worker_1", TICK_SECONDS)
    log = opened(flusher)
    say(flusher, log, 2 * BATCH_ENTRIES)
    looks = 0
    while log.pending:
        await flusher.look()
        looks += 1
        assert (flusher.epoch is None) is log.pending
    assert looks == 3
    await client.aclose()


@on_a_loop
async def test_while_a_log_may_not_be_written_nobody_says_that_all_are_whole(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        opened(flusher, lease_seconds=-1)
        await until(lambda: flusher.seen_epoch, "the first look")
        await asyncio.sleep(2 * TICK_SECONDS)

        assert flusher.epoch is None


@on_a_loop
async def test_a_worker_that_is_gone_is_soon_not_alive(empty_redis: Redis) -> None:
    async with flushing(empty_redis) as flusher:
        await until(lambda: flusher.seen_epoch, "the first look")

    await until(lambda: not worker_presence.is_any_alive(empty_redis.client, TICK_SECONDS), "it to be missed")


@on_a_loop
async def test_what_redis_refuses_for_good_is_not_waited_for(empty_redis: Redis) -> None:
    empty_redis.client.execute_command("ACL", "SETUSER", "poor", "on", ">p", "~*", "&*", "+@all", "-info")
    client = redis_clients.nonblocking(empty_redis.url.replace("redis://", "redis://poor:p@"))
    try:
        with pytest.raises(NoPermissionError):
            await asyncio.wait_for(Flusher(client, "worker_1", TICK_SECONDS).tick(), 10)
    finally:
        await client.aclose()
        empty_redis.client.execute_command("ACL", "DELUSER", "poor")


def test_a_full_redis_is_the_same_life(empty_redis: Redis) -> None:
    first = epoch.current(empty_redis.client)
    empty_redis.client.config_set("maxmemory", "1")
    try:
        assert epoch.current(empty_redis.client) == first
    finally:
        empty_redis.client.config_set("maxmemory", "0")


def test_a_restarted_redis_is_another_life(tmp_path: Path) -> None:
    server = Redis(tmp_path, persistent=True)
    try:
        first = epoch.current(server.client)
        assert epoch.current(server.client) == first
        server.process.kill()
        server.start()
        second = epoch.current(server.client)
        server.client.flushall()

        assert len({first, second, epoch.current(server.client)}) == 3
    finally:
        server.close()
