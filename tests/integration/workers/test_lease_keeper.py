"""What a worker process holds: claimed, renewed, let go; and the cancels it hears."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from dev.testing.stack import Redis, wait_until
from shared import database, keyspace, redis_clients
from shared.config import Settings
from shared.database import Database, now_ms
from shared.errors import DatabaseUnavailable
from shared.jobs import lifecycle
from shared.models import Job
from tests.integration.flushing import on_a_loop, until
from tests.integration.jobs import Jobs
from tests.integration.working import Desk, Provider
from workers.lease import cancel_listener, clock
from workers.lease.keeper import LeaseKeeper
from workers.lease.lease import Lease, Leases, Stop

LONG_AGO_SECONDS = 100.0


@pytest.fixture
def jobs(sqlite_jobs: Jobs) -> Jobs:
    """The kind of database makes no difference here."""
    return sqlite_jobs


@pytest.fixture
def desk(config: Settings, jobs: Jobs) -> Iterator[Desk]:
    """A worker's parts, none of which is at work by itself; with leases that no hitch of the machine outlasts."""
    made = Desk(config.model_copy(update={"lease_seconds": 20}), jobs.database, Provider())
    yield made
    made.loop.stop()


def claimed(desk: Desk) -> Lease:
    hold = desk.keeper.claim()
    assert hold is not None
    return hold


def lease(jobs: Jobs, job: Job) -> int:
    until_ms = jobs.row(job.id).lease_until_ms
    assert until_ms is not None
    return until_ms


def become_steady(desk: Desk) -> None:
    desk.keeper._renew_if_alive()
    desk.keeper.steady_since = clock.seconds() - LONG_AGO_SECONDS


def test_who_has_slept_is_not_sure_that_others_are_dead(desk: Desk, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.lapse(jobs.claimed().id)
    become_steady(desk)
    assert desk.keeper.is_steady()
    awake = clock.seconds
    monkeypatch.setattr(clock, "seconds", lambda: awake() + LONG_AGO_SECONDS)

    assert not desk.keeper.is_steady()
    assert desk.keeper.claim() is None
    desk.keeper._renew_if_alive()
    assert not desk.keeper.is_steady()


def test_jobs_that_spend_all_connections_cost_no_lease(
    config: Settings, desk: Desk, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_WAIT_SECONDS", 0.1)
    busy = Database(jobs.database.engine.url.render_as_string(hide_password=False), connections=1)
    keeper = LeaseKeeper(config, busy, jobs.database, desk.loop, desk.flusher, desk.holds, "worker_1")
    with busy.read() as session:
        session.execute(select(1))
        with pytest.raises(DatabaseUnavailable):
            keeper.claim()
        keeper._renew_if_alive()
    assert keeper.steady_since is not None
    busy.engine.dispose()


def test_what_is_claimed_is_held(desk: Desk, jobs: Jobs) -> None:
    assert desk.keeper.claim() is None
    job_id = jobs.queue()
    before = clock.seconds()
    hold = claimed(desk)

    assert (hold.job.id, hold.attempt, desk.holds.all()) == (job_id, 1, [hold])
    slack = clock.seconds() - before + 1
    assert hold.seconds_left == pytest.approx(60, abs=slack)
    assert hold.now_ms() == pytest.approx(time.time() * 1000, abs=1000 * slack)
    desk.keeper.release(hold)
    assert desk.holds.all() == []


def test_a_renewal_moves_the_leases_of_all_that_is_held(desk: Desk, jobs: Jobs) -> None:
    for _ in range(3):
        jobs.queue()
    holds = [claimed(desk) for _ in range(3)]
    for hold in holds:
        jobs.lapse(hold.job.id)
        hold.lease_end = 0.0
    desk.keeper._renew_if_alive()

    assert all(lease(jobs, hold.job) > time.time() * 1000 for hold in holds)
    assert all(0 < hold.lease_end - clock.seconds() <= desk.config.lease_seconds for hold in holds)


def test_a_process_whose_loop_is_stuck_loses_its_jobs(desk: Desk, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.queue()
    hold = claimed(desk)
    before = lease(jobs, hold.job)
    become_steady(desk)
    jobs.set(hold.job.id, lease_until_ms=before)
    stuck, go_on = threading.Event(), threading.Event()
    desk.loop.call(stuck.set)
    desk.loop.call(go_on.wait, 30)
    assert stuck.wait(5)
    monkeypatch.setattr(desk.loop, "ticked", time.monotonic() - desk.config.lease_seconds)
    desk.keeper._renew_if_alive()
    go_on.set()

    assert lease(jobs, hold.job) == before
    assert not desk.keeper.is_steady()


def test_a_renewal_tells_each_job_what_has_become_of_it(desk: Desk, jobs: Jobs) -> None:
    for _ in range(4):
        jobs.queue()
    kept, cancelled, lost, changing = (claimed(desk) for _ in range(4))
    jobs.set(cancelled.job.id, cancel_requested_ms=now_ms())
    jobs.set(lost.job.id, attempt=2)
    jobs.set(changing.job.id, attempt=2)
    with changing.changing():
        desk.keeper._renew_if_alive()

    assert [hold.reason for hold in (kept, cancelled, lost, changing)] == [None, Stop.CANCELLED, Stop.LOST, None]
    assert [hold.stopped.is_set() for hold in (kept, cancelled, lost, changing)] == [False, True, True, False]


def test_only_who_is_sure_of_his_own_leases_takes_others_over(desk: Desk, jobs: Jobs) -> None:
    orphan = jobs.claimed()
    jobs.lapse(orphan.id)
    desk.keeper.steady_since = None
    assert desk.keeper.claim() is None
    become_steady(desk)

    assert claimed(desk).job.id == orphan.id


def keeping(desk: Desk, condition: threading.Event) -> None:
    """Renew in a thread until something has happened."""
    stopped = threading.Event()
    thread = threading.Thread(target=desk.keeper.run, args=(stopped,))
    thread.start()
    happened = condition.wait(5)
    stopped.set()
    thread.join()
    assert happened


def test_while_the_database_is_away_nobody_is_steady(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    become_steady(desk)
    asked = threading.Event()

    def away(*_: object, **__: object) -> None:
        asked.set()
        raise DatabaseUnavailable

    monkeypatch.setattr(lifecycle, "renew", away)
    keeping(desk, asked)

    assert desk.keeper.steady_since is None


def test_a_keeper_that_breaks_ends_the_process(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = threading.Event()
    told: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        told.append((pid, number))
        killed.set()

    def broken(session: Session, *_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(lifecycle, "renew", broken)
    monkeypatch.setattr(os, "kill", kill)
    keeping(desk, killed)

    assert told[0] == (os.getpid(), signal.SIGKILL)


@on_a_loop
async def test_cancels_are_heard_also_after_the_connection_was_cut(empty_redis: Redis) -> None:
    client = redis_clients.nonblocking(empty_redis.url, answer_seconds=None)
    holds = Leases()
    listening = asyncio.create_task(cancel_listener.listen(client, holds))

    def hears(job_id: str) -> bool:
        empty_redis.client.publish(keyspace.CANCEL_CHANNEL, job_id)
        return job_id in holds._cancels

    await until(lambda: hears("job_1"), "the first cancel")
    empty_redis.client.client_kill_filter(_type="pubsub")
    await until(lambda: hears("job_2"), "the second cancel")
    listening.cancel()
    await asyncio.wait([listening])
    await client.aclose()


def test_the_first_reason_to_stop_counts_but_losing_the_job_beats_all(desk: Desk, jobs: Jobs) -> None:
    jobs.queue()
    hold = claimed(desk)
    reasons = []
    for reason in (Stop.DRAINED, Stop.CANCELLED, Stop.LOST):
        hold.stop(reason)
        reasons.append(hold.reason)

    assert reasons == [Stop.DRAINED, Stop.DRAINED, Stop.LOST]
    wait_until(hold.stopped.is_set, "the job to be stopped", 1)
