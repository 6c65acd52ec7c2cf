"""What a holder does with a job it has claimed: renew, try again, give back; and what it may no longer do."""

from typing import Any

import pytest
from sqlalchemy import select

from shared.database import now_ms
from shared.jobs import lifecycle
from shared.jobs.lifecycle import LeaseState
from shared.models import Job, Status
from tests.integration.jobs import LEASE_MS, MINUTE_MS, Jobs

ERROR = {"code": "busy", "message": "Busy"}


def renew(jobs: Jobs, *held: LeaseState, epoch: str | None = None) -> dict[str, bool]:
    with jobs.database.write() as session:
        kept = lifecycle.renew(session, held, lease_ms=LEASE_MS, epoch=epoch)
    assert all(renewal.is_renewed for renewal in kept.values())
    return {job_id: renewal.is_cancelled for job_id, renewal in kept.items()}


def give_back(jobs: Jobs, job: Job, attempt: int | None = None, log_seq: int = 0, **how: Any) -> bool:
    options: dict[str, Any] = {"reason": "drained", "epoch": None, **how}
    with jobs.database.write() as session:
        return lifecycle.give_back(session, LeaseState(job.id, attempt or job.attempt, log_seq), **options)


def retry(jobs: Jobs, job_id: str, attempt: int) -> bool:
    with jobs.database.write() as session:
        return lifecycle.retry(session, job_id, attempt, 0, ERROR)


def now(jobs: Jobs) -> int:
    with jobs.database.read() as session:
        return session.scalar(now_ms().select()) or 0


def test_a_renewal_moves_the_lease_and_tells_how_far_the_log_is(jobs: Jobs) -> None:
    job = jobs.claimed()
    jobs.set(job.id, lease_until_ms=now(jobs) + 1000)

    assert renew(jobs, LeaseState(job.id, 1, 42), epoch="redis_2") == {job.id: False}
    row = jobs.row(job.id)
    assert (row.log_seq, row.log_epoch) == (42, "redis_2")
    assert row.lease_until_ms == pytest.approx(now(jobs) + LEASE_MS, abs=10_000)


def test_a_renewal_that_does_not_know_the_redis_keeps_what_was_known(jobs: Jobs) -> None:
    job = jobs.claimed()
    renew(jobs, LeaseState(job.id, 1, 1), epoch="redis_2")
    renew(jobs, LeaseState(job.id, 1, 2), epoch=None)

    assert (jobs.row(job.id).log_epoch, jobs.row(job.id).log_seq) == ("redis_2", 2)


def test_a_renewal_does_not_vouch_for_a_log_that_its_holder_has_not_opened(jobs: Jobs) -> None:
    """It is the one before that knew this log; whether it is whole in this Redis is what the holder has yet to find out."""
    mine, others = jobs.claimed(), jobs.claimed()
    renew(jobs, LeaseState(mine.id, 1, 3), LeaseState(others.id, 1, 3, is_open=False), epoch="redis_2")

    assert [jobs.row(job.id).log_epoch for job in (mine, others)] == ["redis_2", "e"]


def test_a_renewal_tells_which_jobs_are_lost_and_which_are_to_be_cancelled(jobs: Jobs) -> None:
    kept, cancelled, taken, ended, given = (jobs.claimed() for _ in range(5))
    jobs.set(cancelled.id, cancel_requested_ms=now_ms())
    jobs.set(taken.id, attempt=2)
    jobs.set(ended.id, status=Status.FAILED)
    give_back(jobs, given)
    held = [LeaseState(job.id, 1, 7) for job in (kept, cancelled, taken, ended, given)]

    assert renew(jobs, *held, LeaseState("job_of_nobody", 1, 0)) == {kept.id: False, cancelled.id: True}
    assert [jobs.row(job.id).log_seq for job in (taken, ended, given)] == [0, 0, 0]


def test_a_renewal_revives_a_lease_that_nobody_took(jobs: Jobs) -> None:
    job = jobs.claimed()
    jobs.lapse(job.id)

    assert renew(jobs, LeaseState(job.id, 1, 0)) == {job.id: False}
    assert jobs.claim() is None


def test_a_worker_that_holds_nothing_renews_nothing(jobs: Jobs) -> None:
    job = jobs.claimed()
    assert renew(jobs) == {}

    assert jobs.row(job.id).lease_until_ms == job.lease_until_ms


def test_a_full_process_renews_at_once(jobs: Jobs) -> None:
    job = jobs.claimed()
    held = [LeaseState(f"job_{number}", 1, 1) for number in range(4000)]

    assert renew(jobs, *held, LeaseState(job.id, 1, 3), epoch="redis_2") == {job.id: False}


def test_the_next_attempt_in_place(jobs: Jobs) -> None:
    job = jobs.claimed()
    assert retry(jobs, job.id, 1)
    row = jobs.row(job.id)

    assert (row.status, row.attempt, row.owner) == (Status.IN_PROGRESS, 2, job.owner)
    assert (row.provider_errors, row.error, row.lost_workers) == (1, ERROR, 0)


def test_an_attempt_whose_commit_was_not_answered_is_begun_once(jobs: Jobs) -> None:
    job = jobs.claimed()
    assert [retry(jobs, job.id, 1), retry(jobs, job.id, 1)] == [True, True]
    row = jobs.row(job.id)

    assert (row.attempt, row.provider_errors) == (2, 1)


def test_a_job_that_is_given_back_is_queued_again(jobs: Jobs) -> None:
    job = jobs.claimed()
    assert give_back(jobs, job, log_seq=5, epoch="redis_2")
    row = jobs.row(job.id)

    assert (row.status, row.attempt, row.owner, row.lease_until_ms) == (Status.QUEUED, 2, None, None)
    assert (row.log_seq, row.log_epoch, row.requeued_for) == (5, "redis_2", "drained")
    assert (row.not_before_ms, row.rung_ms) == (None, None)
    assert (row.provider_errors, row.lost_workers) == (0, 0)

    again = jobs.claim()
    assert again is not None
    assert (again.attempt, again.requeued_for, again.lost_workers) == (3, "drained", 0)


def test_a_job_that_is_given_back_without_knowing_the_redis_keeps_what_was_known(jobs: Jobs) -> None:
    job = jobs.claimed()
    give_back(jobs, job, epoch=None)

    assert jobs.row(job.id).log_epoch == "e"


def test_a_job_may_have_to_wait_after_an_error(jobs: Jobs) -> None:
    job = jobs.claimed()
    give_back(jobs, job, wait_ms=MINUTE_MS, error=ERROR, reason="provider_error")
    row = jobs.row(job.id)

    assert row.not_before_ms == pytest.approx(now(jobs) + MINUTE_MS, abs=10_000)
    assert (row.provider_errors, row.error) == (1, ERROR)
    assert jobs.claim() is None
    jobs.set(job.id, not_before_ms=now_ms())
    assert jobs.claim() is not None
    assert jobs.row(job.id).not_before_ms is None


def test_who_has_lost_a_job_changes_nothing(jobs: Jobs) -> None:
    job = jobs.claimed()
    jobs.lapse(job.id)
    taken = jobs.claim("worker_2")
    assert taken is not None
    before = vars(jobs.row(job.id)).copy()

    assert (retry(jobs, job.id, 1), give_back(jobs, job, 1), renew(jobs, LeaseState(job.id, 1, 99), epoch="x")) == (
        False,
        False,
        {},
    )
    after = vars(jobs.row(job.id))
    assert {name for name in after if name[0] != "_" and after[name] != before[name]} == set()


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.IN_PROGRESS])
def test_a_job_that_does_not_run_is_held_by_nobody(jobs: Jobs, status: Status) -> None:
    job = jobs.claimed()
    jobs.set(job.id, status=status)

    assert (retry(jobs, job.id, 1), give_back(jobs, job), renew(jobs, LeaseState(job.id, 1, 99))) == (False, False, {})


def request_cancel(jobs: Jobs, job_id: str) -> bool:
    with jobs.database.write() as session:
        return lifecycle.request_cancel(session, job_id)


def test_a_cancel_is_noted_once(jobs: Jobs) -> None:
    job_id = jobs.queue()
    assert request_cancel(jobs, job_id)
    first = jobs.row(job_id).cancel_requested_ms
    assert first is not None
    jobs.set(job_id, cancel_requested_ms=first - 10)

    assert request_cancel(jobs, job_id)
    assert jobs.row(job_id).cancel_requested_ms == first - 10


@pytest.mark.parametrize("status", [status for status in Status if status.is_terminal])
def test_what_is_over_cannot_be_cancelled(jobs: Jobs, status: Status) -> None:
    job_id = jobs.queue(status=status)

    assert not request_cancel(jobs, job_id)
    assert jobs.row(job_id).cancel_requested_ms is None


def test_a_row_that_is_locked_is_not_waited_for_and_not_lost(jobs: Jobs) -> None:
    # Given two held jobs, and somebody who has locked the row of one and is slow
    slow, quick = jobs.claimed(), jobs.claimed()
    if jobs.database.is_sqlite:
        pytest.skip("SQLite locks no rows")
    with jobs.database.write() as locker:
        locker.scalar(select(Job.id).where(Job.id == slow.id).with_for_update())

        # When the worker renews both, then the other is renewed at once, and the locked one is still known to be held
        with jobs.database.write() as session:
            kept = lifecycle.renew(session, [LeaseState(slow.id, 1, 0), LeaseState(quick.id, 1, 0)], lease_ms=LEASE_MS, epoch=None)
    assert (kept[slow.id].is_renewed, kept[quick.id].is_renewed) == (False, True)


def test_a_worker_unsure_of_its_own_leases_takes_nothing_from_others(jobs: Jobs) -> None:
    job = jobs.claimed()
    jobs.set(job.id, lease_until_ms=now(jobs) - 1)
    assert jobs.claim("worker_2", orphans=False) is None
    assert jobs.claim("worker_2") is not None
