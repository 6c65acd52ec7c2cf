"""While Redis is away jobs are accepted all the same; they run when it is back."""

import secrets
import signal
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from api.readiness import REMEMBERED_SECONDS
from dev.testing.client import Client, counted
from dev.testing.stack import SHORT_LEASES, wait_until
from tests.api.deployment import Deployment, deployed
from tests.api.event_stream import HEARTBEAT, events_of, open_stream

SOON_SECONDS = 5.0
QUICK = "demo?tokens=3&first_ms=0"

FROZEN = pytest.param("frozen", marks=[pytest.mark.long])


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose Redis may be hurt."""
    folder = tmp_path_factory.mktemp("fragile")
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", SHORT_LEASES) as started:
        yield started


@pytest.fixture(scope="module")
def user(fragile: Deployment) -> Client:
    """A user there."""
    return fragile.user()


@pytest.fixture(scope="module")
def over(user: Client) -> dict[str, Any]:
    """A job of the user that was over while Redis was there."""
    return user.finished(user.submit(model=QUICK)["id"])


@pytest.fixture(scope="module", params=["dead", FROZEN])
def how(request: pytest.FixtureRequest, fragile: Deployment, user: Client, over: dict[str, Any]) -> str:
    """How Redis is away: its server is dead, or takes connections and never answers."""
    _restart_redis(fragile, user)
    kind: str = request.param
    return kind


@pytest.fixture
def away(fragile: Deployment, how: str) -> Deployment:
    """That deployment without Redis, whether a test before has brought it back or not."""
    _take_away(fragile, how)
    return fragile


@pytest.fixture
def well(fragile: Deployment, user: Client) -> Deployment:
    """That deployment with Redis, whatever was before."""
    _restart_redis(fragile, user)
    return fragile


def _take_away(fragile: Deployment, how: str) -> None:
    if how == "dead":
        fragile.redis.process.kill()
    else:
        fragile.redis.process.signal(signal.SIGSTOP)


def _restart_redis(fragile: Deployment, user: Client | None = None) -> None:
    """Bring Redis back; with a user, wait until the deployment is ready again."""
    if fragile.redis.process.is_running():
        fragile.redis.process.signal(signal.SIGCONT)
    else:
        fragile.redis.start()
    if user:
        wait_until(lambda: user.http.get("/readyz").status_code == 200, "the deployment to be ready again")


def test_the_api_is_not_ready_and_says_why(user: Client, away: Deployment) -> None:
    wait_until(lambda: user.http.get("/readyz").status_code == 503, "what was remembered to be forgotten", SOON_SECONDS)
    time.sleep(REMEMBERED_SECONDS)  # or the next answer would be a remembered one
    began = time.monotonic()
    answer = user.http.get("/readyz")
    assert time.monotonic() - began < SOON_SECONDS
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert (checks["database"], checks["redis"]) == ("ok", "Redis does not answer, or cannot be written.")
    assert checks["worker"] != "ok"
    assert user.http.get("/healthz").status_code == 200


def test_a_job_is_accepted_and_runs_when_redis_is_back(user: Client, away: Deployment) -> None:
    # Given a job that was accepted soon, although nobody could be rung for
    key = {"Idempotency-Key": secrets.token_hex(8)}
    began = time.monotonic()
    job = user.submit(model=QUICK, headers=key)
    assert time.monotonic() - began < SOON_SECONDS
    assert user.submit(model=QUICK, headers=key)["id"] == job["id"]
    assert user.job(job["id"])["status"] == "queued"

    # And a reader who receives heartbeats
    with open_stream(job["stream_url"]) as blocks:
        assert [next(blocks) for _ in range(3)] == [b"retry: 500", HEARTBEAT, HEARTBEAT]

        # When Redis is back, then the job runs, and that reader sees all of it
        _restart_redis(away)
        seen = list(events_of(blocks))
    assert [each["seq"] for each in seen] == [1, 2, 3, 4, 5]
    assert seen[-1]["type"] == "completed"
    assert user.finished(job["id"])["text"] == counted(3)


def test_what_is_over_can_be_read(user: Client, over: dict[str, Any], away: Deployment) -> None:
    assert user.job(over["id"]) == over
    assert over["id"] in [job["id"] for job in user.http.get("/jobs").json()["data"]]
    lines = [line for line in user.http.get(f"/jobs/{over['id']}/events").text.splitlines() if line.startswith("event: ")]
    assert lines == ["event: started", *["event: delta"] * 3, "event: completed"]
    assert user.http.post(f"/jobs/{over['id']}/cancel").json() == over


def test_a_queued_job_is_cancelled_and_deleted(user: Client, away: Deployment) -> None:
    job = user.submit(model=QUICK)
    began = time.monotonic()
    now = user.http.post(f"/jobs/{job['id']}/cancel")
    assert time.monotonic() - began < SOON_SECONDS
    assert now.status_code == 200
    assert user.job(job["id"])["status"] == "cancelled"
    assert user.http.delete(f"/jobs/{job['id']}").status_code == 204
    assert user.http.get(f"/jobs/{job['id']}").status_code == 404


def test_logins_are_still_counted_and_let_through(user: Client, away: Deployment) -> None:
    began = time.monotonic()
    assert user.http.post("/auth/login", json={"username": "nobody", "password": "nothing"}).status_code == 401
    assert time.monotonic() - began < SOON_SECONDS


def test_a_stream_survives_that_redis_dies_and_comes_back_empty(user: Client, well: Deployment) -> None:
    # Given a reader in the middle of a job
    job = user.submit(model="demo?tokens=60&first_ms=0&gap_ms=40")
    with open_stream(job["stream_url"]) as blocks:
        assert next(blocks) == b"retry: 500"
        seen = list(islice(events_of(blocks), 10))

        # When Redis dies and comes back with nothing
        _take_away(well, "dead")
        _restart_redis(well)
        seen += events_of(blocks)

    # Then the reader sees every event once, in order
    assert [each["seq"] for each in seen] == list(range(1, 63))
    assert seen[-1]["type"] == "completed"
    assert user.finished(job["id"])["text"] == counted(60)
