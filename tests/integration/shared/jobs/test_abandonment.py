"""Abandoned answers: cancelled once nobody has read them for a while, and Redis was there all that while to be told of readers."""

import time

import pytest
import redis

from shared.config import Settings
from shared.models import Status
from shared.redis import reader_presence, redis_clients
from tests.integration.jobs import Jobs
from workers.abandonment import Abandonment

ABANDONED_SECONDS = 0.6
LOOK_SECONDS = 0.1


@pytest.fixture
def jobs(sqlite_jobs: Jobs) -> Jobs:
    """The kind of database makes no difference here."""
    return sqlite_jobs


@pytest.fixture
def abandonment(jobs: Jobs, redis_client: redis.Redis) -> Abandonment:
    return Abandonment(jobs.database, redis_client, ABANDONED_SECONDS, LOOK_SECONDS)


def look(abandonment: Abandonment, seconds: float) -> None:
    """Look for a while, as a worker does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        abandonment.cancel()
        time.sleep(LOOK_SECONDS)


def is_cancelled(jobs: Jobs, job_id: str) -> bool:
    return jobs.row(job_id).cancel_requested_ms is not None


def test_an_answer_that_is_not_read_is_cancelled_and_forgotten(
    jobs: Jobs, redis_client: redis.Redis, abandonment: Abandonment
) -> None:
    left, read, over, unknown = jobs.queue(), jobs.queue(), jobs.queue(status=Status.COMPLETED), jobs.queue()
    reader_presence.note(redis_client, [left, read, over])
    reader_presence.note(redis_client, [unknown], only_known=True)

    until = time.monotonic() + 2 * ABANDONED_SECONDS
    while time.monotonic() < until:
        look(abandonment, LOOK_SECONDS)
        reader_presence.note(redis_client, [read])

    assert [is_cancelled(jobs, job_id) for job_id in (left, read, over, unknown)] == [True, False, False, False]
    assert reader_presence.abandoned(redis_client, 0) == [read]
    reader_presence.forget(redis_client, [read])
    assert reader_presence.abandoned(redis_client, 0) == []


def test_what_could_not_be_noted_is_not_abandoned(jobs: Jobs, redis_client: redis.Redis, abandonment: Abandonment) -> None:
    job_id = jobs.queue()
    look(abandonment, 2 * ABANDONED_SECONDS)
    reader_presence.note(redis_client, [job_id])
    time.sleep(2 * ABANDONED_SECONDS)  # nobody looks: this worker was paused, or Redis was

    look(abandonment, ABANDONED_SECONDS / 2)
    assert not is_cancelled(jobs, job_id)
    look(abandonment, ABANDONED_SECONDS)
    assert is_cancelled(jobs, job_id)


def refuse(*_: object, **__: object) -> None:
    raise redis_clients.RedisError("away")


def test_an_absence_of_redis_begins_the_wait_anew(
    jobs: Jobs, redis_client: redis.Redis, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = redis_clients.blocking(str(config.redis_url))
    abandonment = Abandonment(jobs.database, own, ABANDONED_SECONDS, LOOK_SECONDS)
    job_id = jobs.queue()
    look(abandonment, ABANDONED_SECONDS)
    reader_presence.note(redis_client, [job_id])
    time.sleep(LOOK_SECONDS)
    monkeypatch.setattr(own, "zrange", refuse)
    until = time.monotonic() + ABANDONED_SECONDS
    while time.monotonic() < until:
        with pytest.raises(redis_clients.RedisError):
            abandonment.cancel()
        time.sleep(LOOK_SECONDS)
    monkeypatch.undo()

    look(abandonment, ABANDONED_SECONDS / 2)
    assert not is_cancelled(jobs, job_id)
    look(abandonment, ABANDONED_SECONDS)
    assert is_cancelled(jobs, job_id)
