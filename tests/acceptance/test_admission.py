"""Admission: limits before anything is stored, and nobody waits behind another user's thousand."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime

import pytest

from dev.testing.client import Client
from dev.testing.stack import Redis, Stack, running

LIMITS = {
    "SUBMIT_LIMIT": "45 per minute",
    "MAX_QUEUED_JOBS": "30",
    "MAX_QUEUE": "40",
    "MAX_RUNNING_JOBS": "2",
    "WORKER_CONCURRENCY": "4",
}
THREADS = 4


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory, empty_redis: Redis, database_url: str) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("admission")
    with running(Stack(folder, empty_redis.url, database_url, **LIMITS), workers=0) as started:
        yield started


@pytest.fixture
def users(stack: Stack) -> Iterator[list[Client]]:
    with ExitStack() as leaving:
        yield [leaving.enter_context(Client(stack.url)) for _ in range(3)]


def test_limits_are_told_and_kept(users: list[Client]) -> None:
    # Given a user with as many waiting jobs as allowed
    ann, bob, eve = users
    for _ in range(30):
        ann.submit(model="demo?tokens=3&gap_ms=5")

    # Then one more is refused, and nothing of it is stored
    refused = ann.http.post("/jobs", json={"message": "one more"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_queued_jobs")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (refused.headers["RateLimit-Limit"], refused.headers["RateLimit-Remaining"]) == ("45", "14")
    assert len(ann.http.get("/jobs", params={"limit": 100}).json()["data"]) == 30

    # And when all users together have too many, it is 503 for everybody
    for _ in range(10):
        bob.submit(model="demo?tokens=3&gap_ms=5")
    full = eve.http.post("/jobs", json={"message": "one more"})
    assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full")
    assert int(full.headers["Retry-After"]) >= 1

    # And who submits too fast is told when to come back; reading and polling are free
    for _ in range(14):
        ann.http.post("/jobs", json={"message": "again"})
    too_fast = ann.http.post("/jobs", json={"message": "again"})
    assert (too_fast.status_code, too_fast.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(too_fast.headers["Retry-After"]) <= 60
    for _ in range(100):
        assert ann.http.get("/jobs").status_code == 200


def test_a_replayed_key_is_not_limited(users: list[Client]) -> None:
    ann = users[0]
    first = ann.submit(headers={"Idempotency-Key": "once"})
    for _ in range(60):
        assert ann.submit(headers={"Idempotency-Key": "once"})["id"] == first["id"]


def moment(text: str) -> datetime:
    """Read a moment: as texts they do not sort, since a whole second has no fraction."""
    return datetime.fromisoformat(text)


def test_one_users_many_jobs_do_not_keep_another_waiting(stack: Stack, users: list[Client]) -> None:
    # Given one user's thirty long-ish jobs, and another's single one, submitted last
    ann, bob, _ = users
    many = [ann.submit(model="demo?tokens=20&gap_ms=20")["id"] for _ in range(30)]
    single = bob.submit(model="demo?tokens=20&gap_ms=20")["id"]

    # When a worker with four threads begins
    stack.start_worker()
    starts = sorted((moment((ann if job != single else bob).finished(job)["started_at"]), job) for job in [*many, single])

    # Then the single job is among the first to be claimed, and two of the other user's ran at once, never more (PostgreSQL lets
    # claims of the very same moment pass the limit together, which only SQLite's one writer makes impossible: there the single job
    # may come with the second job of each thread)
    first = THREADS if "sqlite" in stack.environment["DATABASE_URL"] else 2 * THREADS
    assert next(index for index, (_, job_id) in enumerate(starts) if job_id == single) < first
    spans = [(moment(job["started_at"]), moment(job["finished_at"])) for job in (ann.job(job_id) for job_id in many)]
    at_once = max(sum(start <= now < end for start, end in spans) for now, _ in spans)
    assert 2 <= at_once <= (2 if "sqlite" in stack.environment["DATABASE_URL"] else 4)
