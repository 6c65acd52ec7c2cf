"""The API on gunicorn's threads instead of greenlets: nothing in it depends on gevent."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dev.testing.client import Client, counted
from dev.testing.stack import BIN, free_port, is_up, wait_until
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment
from tests.api.event_stream import HEARTBEAT, event, events, events_of, open_stream

pytestmark = ON_SQLITE

THREADS = 8


@pytest.fixture(scope="module")
def threaded(deployment: Deployment) -> str:
    """The address of an API process on threads."""
    port = free_port()
    command = [str(BIN / "gunicorn"), "-c", "gunicorn.conf.py", "-k", "gthread", "--threads", str(THREADS), "api.app:create_app()"]
    deployment.stack.start("web-gthread", command, PORT=str(port))
    wait_until(lambda: is_up(f"http://127.0.0.1:{port}/healthz"), "the API on threads")
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def user(threaded: str) -> Client:
    """A user of that process, with a password and all."""
    return Client(threaded)


def test_a_job_is_streamed(user: Client) -> None:
    job = user.submit(model="demo?tokens=20&first_ms=1300&gap_ms=10")
    with open_stream(job["stream_url"]) as blocks:
        kinds = ["beat" if block == HEARTBEAT else event(block)["type"] for block in list(blocks)[1:]]
    assert "beat" in kinds
    assert [kind for kind in kinds if kind != "beat"] == ["started", *["delta"] * 20, "completed"]
    assert user.finished(job["id"])["text"] == counted(20)
    user.close()


def test_streams_do_not_hold_up_one_another(user: Client) -> None:
    # Given streams on most threads, all open at the same time
    jobs = [user.submit(model="demo?tokens=20&first_ms=200&gap_ms=20") for _ in range(THREADS - 2)]
    together = threading.Barrier(len(jobs))

    def read(url: str) -> list[int]:
        with open_stream(url) as blocks:
            assert next(blocks) == b"retry: 500"
            together.wait(10)
            return [each["seq"] for each in events_of(blocks)]

    with ThreadPoolExecutor(len(jobs)) as threads:
        readings = [threads.submit(read, job["stream_url"]) for job in jobs]
        assert user.http.get("/jobs").status_code == 200
        assert [reading.result() for reading in readings] == [list(range(1, 23))] * len(jobs)
    user.close()


def test_a_running_job_is_cancelled(user: Client) -> None:
    job = user.submit(model="demo?tokens=500&first_ms=0&gap_ms=40")
    wait_until(lambda: user.job(job["id"])["text"], "some text")
    assert user.http.post(f"/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
    assert events(job["stream_url"])[-1]["type"] == "cancelled"
    user.close()
