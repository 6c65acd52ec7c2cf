"""What one sweep does: ring for what was not rung for, end what must end, close what was left open."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from shared.config import Settings
from shared.database import now_ms
from shared.jobs import ending
from shared.jobs.ending import Ending
from shared.models import Job, Status
from shared.queue import Queue
from shared.redis import keyspace, redis_clients
from tests.integration.entries import begun, logged, write
from tests.integration.jobs import MAX_LOST_WORKERS, MINUTE_MS, Jobs
from tests.integration.recorded_queue import RecordedQueue
from workers.sweep import Sweep

LONG_AGO_MS = 10_000


@pytest.fixture
def queue(config: Settings) -> RecordedQueue:
    return RecordedQueue(config)


@pytest.fixture
def rung(queue: RecordedQueue) -> list[str]:
    """For which jobs it was rung."""
    return queue.rung


@pytest.fixture
def sweeper(jobs: Jobs, redis_client: redis.Redis, config: Settings, queue: RecordedQueue) -> Sweep:
    return Sweep(config, jobs.database, redis_client, queue)


@pytest.fixture
def doorbell(config: Settings) -> Iterator[Queue]:
    """A queue in the tests' Redis."""
    queue = Queue(config)
    yield queue
    queue.close()


def test_a_job_that_nobody_rang_for_is_rung_for_once(jobs: Jobs, sweeper: Sweep, rung: list[str]) -> None:
    job_id = jobs.queue()
    for _ in range(3):
        sweeper.once()

    assert rung == [job_id]
    jobs.set(job_id, rung_ms=now_ms() - LONG_AGO_MS)
    sweeper.once()
    assert rung == [job_id] * 2


def test_only_what_can_be_claimed_is_rung_for(jobs: Jobs, sweeper: Sweep, rung: list[str]) -> None:
    conversation = jobs.conversation()
    head = jobs.queue(conversation=conversation)
    jobs.queue(conversation=conversation)
    jobs.queue(not_before_ms=now_ms() + MINUTE_MS)
    jobs.queue(rung_ms=now_ms())
    running, orphan = (jobs.queue(created_ms=0) for _ in range(2))
    jobs.claim()
    jobs.claim()
    jobs.lapse(orphan)
    sweeper.once()

    assert sorted(rung) == sorted([head, orphan])
    assert jobs.row(running).rung_ms is None


def test_a_rung_job_goes_through_the_queue_by_its_id_alone(
    jobs: Jobs, redis_client: redis.Redis, config: Settings, doorbell: Queue
) -> None:
    job_id = jobs.queue(request={"messages": [{"role": "user", "content": "a secret"}]})
    Sweep(config, jobs.database, redis_client, doorbell).once()
    doorbell.flush(5)
    messages: Any = redis_client.lrange(keyspace.DOORBELL_QUEUE, 0, -1)

    assert len(messages) == 1
    assert job_id.encode() in messages[0]
    assert b"secret" not in messages[0]


@pytest.mark.parametrize(("there", "more"), [(0, 200), (150, 50), (199, 1), (200, 0), (500, 0)])
def test_no_more_are_rung_for_than_are_missing_in_the_queue(
    jobs: Jobs, sweeper: Sweep, redis_client: redis.Redis, rung: list[str], there: int, more: int
) -> None:
    user = jobs.user()
    with jobs.database.write() as session:
        session.add_all(
            Job(id=f"job_{n}", user_id=user, status=Status.QUEUED, model="m", request={}, created_ms=n, deadline_ms=2**60)
            for n in range(250)
        )
    if there:
        redis_client.rpush(keyspace.DOORBELL_QUEUE, *(["message"] * there))
    sweeper.once()

    assert sorted(rung) == sorted(f"job_{n}" for n in range(more))


def ended(jobs: Jobs, job_id: str) -> tuple[str, str | None]:
    row = jobs.row(job_id)
    return row.status.value, row.error["code"] if row.error else None


def test_what_must_end_is_ended(jobs: Jobs, sweeper: Sweep, redis_client: redis.Redis, rung: list[str]) -> None:
    late = jobs.queue(deadline_ms=now_ms() - 1)
    late_after_errors = jobs.queue(deadline_ms=now_ms() - 1, error={"code": "busy", "message": "Busy"})
    cancelled = jobs.queue(cancel_requested_ms=now_ms(), deadline_ms=now_ms() - 1)
    orphans = [jobs.claimed() for _ in range(3)]
    for orphan in orphans:
        write(redis_client, begun(3), job_id=orphan.id)
        jobs.lapse(orphan.id)
    jobs.set(orphans[0].id, deadline_ms=now_ms() - 1)
    jobs.set(orphans[1].id, cancel_requested_ms=now_ms())
    jobs.set(orphans[2].id, lost_workers=MAX_LOST_WORKERS)
    sweeper.once()

    assert ended(jobs, late) == ("failed", "deadline_exceeded")
    assert ended(jobs, late_after_errors) == ("failed", "busy")
    assert ended(jobs, cancelled) == ("cancelled", None)
    assert [ended(jobs, orphan.id) for orphan in orphans] == [
        ("failed", "deadline_exceeded"),
        ("cancelled", None),
        ("failed", "worker_lost"),
    ]
    assert [logged(redis_client, job_id)[-1].is_terminal for job_id in (late, cancelled, *(orphan.id for orphan in orphans))] == [
        True
    ] * 5
    assert rung == []


def test_a_held_job_is_left_to_its_owner(jobs: Jobs, sweeper: Sweep, rung: list[str]) -> None:
    held = [jobs.claimed() for _ in range(3)]
    jobs.set(held[0].id, deadline_ms=now_ms() - 1)
    jobs.set(held[1].id, cancel_requested_ms=now_ms())
    jobs.set(held[2].id, lost_workers=MAX_LOST_WORKERS)
    sweeper.once()

    assert {jobs.row(job.id).status for job in held} == {Status.IN_PROGRESS}


def test_a_job_that_was_given_back_is_not_lost_too_often(jobs: Jobs, sweeper: Sweep, rung: list[str]) -> None:
    job_id = jobs.queue(lost_workers=MAX_LOST_WORKERS)
    sweeper.once()

    assert jobs.row(job_id).status is Status.QUEUED
    assert rung == [job_id]


@pytest.mark.parametrize(("finished_ago_ms", "closed"), [(0, False), (LONG_AGO_MS, True)])
def test_a_log_that_was_left_open_is_closed(
    jobs: Jobs, sweeper: Sweep, redis_client: redis.Redis, finished_ago_ms: int, closed: bool
) -> None:
    job = jobs.claimed()
    write(redis_client, begun(3), job_id=job.id)
    with jobs.database.write() as session:
        ending.end_held(session, job.id, 1, begun(3), Ending(Status.COMPLETED, "stop"), [])
    jobs.set(job.id, finished_ms=now_ms() - finished_ago_ms)
    sweeper.once()

    assert jobs.row(job.id).log_closed is closed
    assert [event.type for event in logged(redis_client, job.id)][3:] == (["completed"] if closed else [])


def test_two_sweeps_at_once_ring_once_and_end_once(
    jobs: Jobs, redis_client: redis.Redis, config: Settings, queue: RecordedQueue
) -> None:
    queued, late = jobs.queue(), jobs.queue(deadline_ms=now_ms() - 1, conversation=jobs.conversation())
    one, other = (Sweep(config, jobs.database, redis_client, queue) for _ in range(2))
    seen = other._jobs_to_end()
    one.once()
    for job in seen:
        other._end(job)
    other.once()

    assert queue.rung == [queued]
    assert (jobs.row(late).attempt, len(logged(redis_client, late))) == (1, 1)


def test_while_redis_is_away_a_sweep_still_ends_what_never_ran(jobs: Jobs, config: Settings, queue: RecordedQueue) -> None:
    late = jobs.queue(deadline_ms=now_ms() - 1)
    with redis_clients.blocking("redis://127.0.0.1:1") as away:
        Sweep(config, jobs.database, away, queue).once()

    assert queue.rung == []
    assert (jobs.row(late).status, jobs.row(late).log_closed) == (Status.FAILED, False)
