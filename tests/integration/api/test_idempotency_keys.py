"""What a stored idempotency key stands for, also one that an earlier release has stored."""

import pytest

from api.jobs import idempotency
from api.jobs.idempotency import Key
from shared.errors import Conflict
from shared.models import IdempotencyKey
from tests.integration.jobs import Jobs

DIGEST_OF_AN_EARLIER_RELEASE = "0f" * 32


def key(letter: str = "a") -> Key:
    made = idempotency.key_of("a key", lambda: letter * 64)
    assert made is not None
    return made


def stored(jobs: Jobs, body_hash: str) -> str:
    job_id = jobs.queue()
    user_id = jobs.row(job_id).user_id
    with jobs.database.write() as session:
        session.add(IdempotencyKey(user_id=user_id, key="a key", body_hash=body_hash, job_id=job_id))
    return job_id


def replayed(jobs: Jobs, job_id: str, wanted: Key) -> str | None:
    with jobs.database.read() as session:
        job = idempotency.replayed(session, jobs.row(job_id).user_id, wanted)
    return job.id if job else None


def test_the_same_request_is_the_same_job(jobs: Jobs) -> None:
    job_id = stored(jobs, key().digest)

    assert replayed(jobs, job_id, key()) == job_id


def test_another_request_under_the_key_is_a_conflict(jobs: Jobs) -> None:
    job_id = stored(jobs, key().digest)

    with pytest.raises(Conflict) as conflict:
        replayed(jobs, job_id, key("b"))
    assert conflict.value.reason == "idempotency_key_reused"


def test_a_key_of_an_earlier_release_stands_for_its_job(jobs: Jobs) -> None:
    """A release that makes digests in another way must not turn the replays of the day before into conflicts."""
    job_id = stored(jobs, DIGEST_OF_AN_EARLIER_RELEASE)

    assert replayed(jobs, job_id, key()) == job_id
