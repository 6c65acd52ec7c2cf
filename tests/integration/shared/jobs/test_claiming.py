"""Which job is claimed, by whom, and how often: on SQLite and on PostgreSQL."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from shared import events
from shared.database import now_ms
from shared.jobs import claiming
from shared.models import Job, Status
from tests.integration.jobs import LEASE_MS, MAX_LOST_WORKERS, MINUTE_MS, Jobs

THREADS = 8


def test_there_may_be_nothing_to_do(jobs: Jobs) -> None:
    assert jobs.claim() is None


def test_a_claim_takes_the_job(jobs: Jobs) -> None:
    job_id = jobs.queue()
    job = jobs.claim("worker_7", epoch="redis_1")
    assert job is not None
    row = jobs.row(job_id)

    assert (job.id, job.status, job.attempt, job.owner) == (job_id, Status.IN_PROGRESS, 1, "worker_7")
    assert (row.status, row.attempt, row.owner, row.log_epoch) == (Status.IN_PROGRESS, 1, "worker_7", "redis_1")
    assert (row.lost_workers, row.requeued_for, row.not_before_ms) == (0, None, None)
    assert row.lease_until_ms is not None
    assert row.started_ms is not None
    assert row.lease_until_ms - row.started_ms == pytest.approx(LEASE_MS, abs=5)
    assert jobs.claim() is None


def test_the_oldest_comes_first(jobs: Jobs) -> None:
    user = jobs.user()
    queued = [jobs.queue(user) for _ in range(5)]
    youngest = jobs.queue(user, created_ms=now_ms())
    oldest = jobs.queue(user, created_ms=now_ms() - 2 * MINUTE_MS)

    assert jobs.claim_all() == [oldest, *queued, youngest]


def test_a_user_with_many_jobs_does_not_hold_up_another(jobs: Jobs) -> None:
    greedy, modest = jobs.user(), jobs.user()
    for _ in range(50):
        jobs.queue(greedy)
    only = jobs.queue(modest)

    first, second = jobs.claim(), jobs.claim()
    assert [job.user_id for job in (first, second) if job] == [greedy, modest]
    assert second is not None
    assert second.id == only


def test_users_take_turns(jobs: Jobs) -> None:
    users = [jobs.user() for _ in range(3)]
    for user in users:
        for _ in range(4):
            jobs.queue(user)

    claimed = [jobs.row(job_id).user_id for job_id in jobs.claim_all()]
    assert [Counter(claimed[at : at + 3]) for at in range(0, 12, 3)] == [Counter(users)] * 4


def test_a_user_at_the_limit_waits_and_the_others_do_not(jobs: Jobs) -> None:
    greedy = jobs.user()
    mine = [jobs.queue(greedy) for _ in range(3)]
    other = jobs.queue(jobs.user(), created_ms=now_ms())

    claimed = [job.id for job in (jobs.claim(max_running=2) for _ in range(4)) if job]
    assert sorted(claimed) == sorted([*mine[:2], other])


def test_a_job_at_the_limit_is_taken_over_all_the_same(jobs: Jobs) -> None:
    orphan = jobs.claimed()
    jobs.lapse(orphan.id)

    taken = jobs.claim("worker_2", max_running=1)
    assert taken is not None
    assert (taken.id, taken.attempt) == (orphan.id, 2)


def test_a_conversation_goes_turn_by_turn(jobs: Jobs) -> None:
    user = jobs.user()
    conversation = jobs.conversation(user)
    turns = [jobs.queue(conversation=conversation) for _ in range(3)]
    aside = jobs.queue(user)

    assert jobs.claim_all() == [turns[0], aside]
    jobs.set(turns[0], status=Status.FAILED)
    assert jobs.claim_all() == [turns[1]]


def test_the_next_turn_waits_while_the_one_before_is_queued_again(jobs: Jobs) -> None:
    conversation = jobs.conversation()
    first = jobs.claimed(conversation=conversation)
    jobs.queue(conversation=conversation)
    jobs.set(first.id, status=Status.QUEUED, not_before_ms=now_ms() + MINUTE_MS)

    assert jobs.claim() is None


def test_no_two_jobs_of_a_conversation_can_run(jobs: Jobs) -> None:
    conversation = jobs.conversation()
    jobs.claimed(conversation=conversation)
    second = jobs.queue(conversation=conversation)

    with pytest.raises(IntegrityError):
        jobs.set(second, status=Status.IN_PROGRESS)


@pytest.mark.parametrize(
    ("columns", "claimable"),
    [
        ({"not_before_ms": now_ms() + MINUTE_MS}, False),
        ({"not_before_ms": now_ms() - 1}, True),
        ({"cancel_requested_ms": now_ms()}, False),
        ({"deadline_ms": now_ms() - 1}, False),
        ({"status": Status.COMPLETED}, False),
        ({"lost_workers": 99}, True),
    ],
)
def test_a_queued_job_may_be_claimed(jobs: Jobs, columns: dict[str, Any], claimable: bool) -> None:
    jobs.queue(**columns)

    assert (jobs.claim() is not None) is claimable


def test_a_job_whose_worker_is_lost_is_taken_over(jobs: Jobs) -> None:
    orphan = jobs.claimed()
    assert jobs.claim("worker_2") is None
    jobs.lapse(orphan.id)
    taken = jobs.claim("worker_2", epoch="redis_2")

    assert taken is not None
    assert (taken.id, taken.attempt, taken.owner) == (orphan.id, 2, "worker_2")
    assert (taken.lost_workers, taken.requeued_for) == (1, events.WORKER_LOST)
    assert taken.log_epoch == orphan.log_epoch  # what its last holder knew
    assert taken.started_ms == orphan.started_ms


@pytest.mark.parametrize(
    "columns", [{"cancel_requested_ms": now_ms()}, {"deadline_ms": now_ms() - 1}, {"lost_workers": MAX_LOST_WORKERS}]
)
def test_some_jobs_of_lost_workers_are_left_to_the_sweep(jobs: Jobs, columns: dict[str, object]) -> None:
    orphan = jobs.claimed()
    jobs.lapse(orphan.id)
    jobs.set(orphan.id, **columns)

    assert jobs.claim() is None


def test_a_job_may_lose_so_many_workers_and_no_more(jobs: Jobs) -> None:
    job = jobs.claimed()
    for lost in range(1, MAX_LOST_WORKERS + 1):
        jobs.lapse(job.id)
        taken = jobs.claim()
        assert taken is not None
        assert taken.lost_workers == lost
    jobs.lapse(job.id)

    assert jobs.claim() is None


def test_many_threads_claim_each_job_once_and_no_conversation_twice_at_once(jobs: Jobs) -> None:
    user = jobs.user()
    conversations = [jobs.conversation(user) for _ in range(10)]
    turns = [jobs.queue(conversation=conversation) for _ in range(5) for conversation in conversations]
    alone = [jobs.queue(user if number % 2 else None) for number in range(50)]
    running: set[str] = set()
    guard = threading.Lock()
    claimed: list[str] = []

    def run_jobs(number: int) -> None:
        while len(claimed) < len(turns) + len(alone):
            job = jobs.claim(f"worker_{number}")
            if job is None:
                continue
            with guard:
                assert job.conversation_id not in running
                if job.conversation_id:
                    running.add(job.conversation_id)
                claimed.append(job.id)
            with guard:  # the row may only change while nobody believes that the conversation still runs
                running.discard(job.conversation_id or "")
                jobs.set(job.id, status=Status.COMPLETED)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(run_jobs, range(THREADS)))

    assert Counter(claimed) == Counter([*turns, *alone])
    for conversation in range(10):
        own = turns[conversation::10]
        assert [job_id for job_id in claimed if job_id in own] == own


def test_an_orphan_is_taken_over_once(jobs: Jobs) -> None:
    orphans = [jobs.claimed() for _ in range(10)]
    for orphan in orphans:
        jobs.lapse(orphan.id)
    with ThreadPoolExecutor(THREADS) as pool:
        taken = [job for job in pool.map(lambda _: jobs.claim(), range(3 * THREADS)) if job]

    assert sorted(job.id for job in taken) == sorted(job.id for job in orphans)
    assert {job.attempt for job in taken} == {2}


def waiting(jobs: Jobs, job: Job) -> str | None:
    with jobs.database.read() as session:
        return session.scalar(claiming.waiting_for(job))


def test_who_ends_a_turn_rings_for_the_next(jobs: Jobs) -> None:
    conversation = jobs.conversation()
    first = jobs.claimed(conversation=conversation)
    second = jobs.queue(conversation=conversation)
    jobs.queue(conversation=conversation)
    jobs.set(first.id, status=Status.COMPLETED)

    assert waiting(jobs, first) == second


def test_who_ends_a_job_rings_for_the_next_of_its_user_and_of_nobody_else(jobs: Jobs) -> None:
    ended = jobs.claimed()
    jobs.queue()
    jobs.set(ended.id, status=Status.COMPLETED)

    assert waiting(jobs, ended) is None
    assert jobs.queue(ended.user_id) == waiting(jobs, ended)
