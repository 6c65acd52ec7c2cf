"""The leases of a worker process: claimed, renewed, lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from dev.testing.stack import wait_until
from shared import database
from shared.config import Settings
from shared.database import Database, now_ms
from shared.errors import DatabaseUnavailable
from shared.jobs import lifecycle
from shared.models import Job
from tests.integration.jobs import Jobs
from tests.integration.working import ScriptedProvider, WorkerParts
from workers import clock
from workers.lease.claimer import Claimer
from workers.lease.lease import Lease, Stop
from workers.lease.renewer import LeaseRenewer

LONG_AGO_SECONDS = 100.0


@pytest.fixture
def jobs(sqlite_jobs: Jobs) -> Jobs:
    """The kind of database makes no difference here."""
    return sqlite_jobs


@pytest.fixture
def worker(config: Settings, jobs: Jobs) -> Iterator[WorkerParts]:
    """A worker's parts, none of which is at work by itself; with leases that no hitch of the machine outlasts."""
    made = WorkerParts(config.model_copy(update={"lease_seconds": 20}), jobs.database, ScriptedProvider())
    yield made
    made.loop.stop()


def claimed(worker: WorkerParts) -> Lease:
    lease = worker.claimer.claim()
    assert lease is not None
    return lease


def lease_until_ms(jobs: Jobs, job: Job) -> int:
    moment = jobs.row(job.id).lease_until_ms
    assert moment is not None
    return moment


def become_steady(worker: WorkerParts) -> None:
    worker.renewer.renew()
    worker.renewer.steady_since = clock.seconds() - LONG_AGO_SECONDS


def test_a_worker_that_has_slept_is_not_steady(worker: WorkerParts, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.lapse(jobs.claimed().id)
    become_steady(worker)
    assert worker.renewer.is_steady()
    awake = clock.seconds
    monkeypatch.setattr(clock, "seconds", lambda: awake() + LONG_AGO_SECONDS)

    assert not worker.renewer.is_steady()
    assert worker.claimer.claim() is None
    worker.renewer.renew()
    assert not worker.renewer.is_steady()


def test_jobs_that_spend_all_connections_cost_no_lease(
    config: Settings, worker: WorkerParts, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_WAIT_SECONDS", 0.1)
    busy = Database(jobs.database.engine.url.render_as_string(hide_password=False), connections=1)
    renewer = LeaseRenewer(config, jobs.database, worker.loop, worker.flusher, worker.leases)
    claimer = Claimer(config, busy, worker.loop, worker.flusher, worker.leases, renewer, "worker_1")
    with busy.read() as session:
        session.execute(select(1))
        with pytest.raises(DatabaseUnavailable):
            claimer.claim()
        renewer.renew()
    assert renewer.steady_since is not None
    busy.engine.dispose()


def test_what_is_claimed_is_held(worker: WorkerParts, jobs: Jobs) -> None:
    assert worker.claimer.claim() is None
    job_id = jobs.queue()
    before = clock.seconds()
    lease = claimed(worker)

    assert (lease.job.id, lease.attempt, worker.leases.all()) == (job_id, 1, [lease])
    slack = clock.seconds() - before + 1
    assert lease.seconds_left == pytest.approx(60, abs=slack)
    assert lease.now_ms() == pytest.approx(time.time() * 1000, abs=1000 * slack)
    worker.leases.remove(lease)
    assert worker.leases.all() == []


def test_a_renewal_moves_the_leases_of_all_that_is_held(worker: WorkerParts, jobs: Jobs) -> None:
    for _ in range(3):
        jobs.queue()
    leases = [claimed(worker) for _ in range(3)]
    for lease in leases:
        jobs.lapse(lease.job.id)
        lease.ends_at = 0.0
    worker.renewer.renew()

    assert all(lease_until_ms(jobs, lease.job) > time.time() * 1000 for lease in leases)
    assert all(0 < lease.ends_at - clock.seconds() <= worker.config.lease_seconds for lease in leases)


def test_a_process_whose_loop_is_stuck_loses_its_jobs(worker: WorkerParts, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.queue()
    lease = claimed(worker)
    before = lease_until_ms(jobs, lease.job)
    become_steady(worker)
    jobs.set(lease.job.id, lease_until_ms=before)
    stuck, go_on = threading.Event(), threading.Event()
    worker.loop.call(stuck.set)
    worker.loop.call(go_on.wait, 30)
    assert stuck.wait(5)
    monkeypatch.setattr(worker.loop, "ticked", time.monotonic() - worker.config.lease_seconds)
    worker.renewer.renew()
    go_on.set()

    assert lease_until_ms(jobs, lease.job) == before
    assert not worker.renewer.is_steady()


def test_a_renewal_stops_what_was_cancelled_or_lost(worker: WorkerParts, jobs: Jobs) -> None:
    for _ in range(4):
        jobs.queue()
    kept, cancelled, lost, changing = (claimed(worker) for _ in range(4))
    jobs.set(cancelled.job.id, cancel_requested_ms=now_ms())
    jobs.set(lost.job.id, attempt=2)
    jobs.set(changing.job.id, attempt=2)
    with changing.changing():
        worker.renewer.renew()

    assert [lease.stop_reason for lease in (kept, cancelled, lost, changing)] == [None, Stop.CANCELLED, Stop.LOST, None]
    assert [lease.stop_requested.is_set() for lease in (kept, cancelled, lost, changing)] == [False, True, True, False]


def test_only_a_steady_worker_takes_over(worker: WorkerParts, jobs: Jobs) -> None:
    orphan = jobs.claimed()
    jobs.lapse(orphan.id)
    worker.renewer.steady_since = None
    assert worker.claimer.claim() is None
    become_steady(worker)

    assert claimed(worker).job.id == orphan.id


def renewing(worker: WorkerParts, condition: threading.Event) -> None:
    """Renew in a thread until something has happened."""
    stopped = threading.Event()
    thread = threading.Thread(target=worker.renewer.run, args=(stopped,))
    thread.start()
    happened = condition.wait(5)
    stopped.set()
    thread.join()
    assert happened


def test_while_the_database_is_away_no_worker_is_steady(worker: WorkerParts, monkeypatch: pytest.MonkeyPatch) -> None:
    become_steady(worker)
    tried = threading.Event()

    def away(*_: object, **__: object) -> None:
        tried.set()
        raise DatabaseUnavailable

    monkeypatch.setattr(lifecycle, "renew", away)
    renewing(worker, tried)

    assert worker.renewer.steady_since is None


def test_a_renewer_that_breaks_ends_the_process(worker: WorkerParts, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = threading.Event()
    signals: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        signals.append((pid, number))
        killed.set()

    def broken(session: Session, *_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(lifecycle, "renew", broken)
    monkeypatch.setattr(os, "kill", kill)
    renewing(worker, killed)

    assert signals[0] == (os.getpid(), signal.SIGKILL)


def test_the_first_reason_to_stop_counts_but_losing_the_job_beats_all(worker: WorkerParts, jobs: Jobs) -> None:
    jobs.queue()
    lease = claimed(worker)
    reasons = []
    for reason in (Stop.DRAINED, Stop.CANCELLED, Stop.LOST):
        lease.stop(reason)
        reasons.append(lease.stop_reason)

    assert reasons == [Stop.DRAINED, Stop.DRAINED, Stop.LOST]
    wait_until(lease.stop_requested.is_set, "the job to be stopped", 1)
