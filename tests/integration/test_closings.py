"""Closed logs are recorded together, and a turn that came while the one before it ended is rung for."""

import pytest

from dev.testing.stack import Redis
from shared.config import Settings
from shared.models import Status
from shared.redis import keyspace
from tests.integration.jobs import Jobs
from tests.integration.recorded_queue import RecordedQueue
from workers.run.closings import Closings


@pytest.fixture
def queue(config: Settings) -> RecordedQueue:
    return RecordedQueue(config)


@pytest.fixture
def closings(jobs: Jobs, queue: RecordedQueue, empty_redis: Redis) -> Closings:
    return Closings(jobs.database, empty_redis.client, queue)


def test_many_logs_are_recorded_in_one_statement(jobs: Jobs, closings: Closings) -> None:
    ended = [jobs.claimed() for _ in range(3)]
    for job in ended:
        jobs.set(job.id, status=Status.COMPLETED)
        closings.add(job, has_rung=True)
    closings.record()

    assert all(jobs.row(job.id).log_closed for job in ended)


def test_the_log_of_a_job_that_was_deleted_is_removed(jobs: Jobs, closings: Closings, empty_redis: Redis) -> None:
    job = jobs.claimed()
    log_key = keyspace.log_key(job.id)
    empty_redis.client.xadd(log_key, {"t": "completed", "d": "{}"}, id="1-1")
    with jobs.database.write() as session:
        session.delete(job)
    closings.add(job, has_rung=True)
    closings.record()

    assert not empty_redis.client.exists(log_key)


def test_a_turn_that_was_refused_while_the_one_before_it_ended_is_rung_for(
    jobs: Jobs, closings: Closings, queue: RecordedQueue
) -> None:
    conversation = jobs.conversation()
    job = jobs.claimed(conversation=conversation)
    following = jobs.queue(conversation=conversation)
    assert jobs.claim() is None
    jobs.set(job.id, status=Status.COMPLETED)
    closings.add(job, has_rung=False)
    closings.record()

    assert queue.rung == [following]


def test_no_turn_is_rung_for_twice(jobs: Jobs, closings: Closings, queue: RecordedQueue) -> None:
    conversation = jobs.conversation()
    job = jobs.claimed(conversation=conversation)
    jobs.queue(conversation=conversation)
    jobs.set(job.id, status=Status.COMPLETED)
    closings.add(job, has_rung=True)
    closings.record()

    assert queue.rung == []
