"""`GET /jobs/{id}`: all there is to know of a job, now or when its status changes."""

import threading
import time
from datetime import datetime
from typing import Any

import pytest

from dev.testing.client import Client, counted
from dev.testing.stack import wait_until
from tests.api.deployment import Deployment
from tests.api.refusals import assert_refused

FIELDS = [
    "id",
    "request_id",
    "status",
    "conversation_id",
    "model",
    "attempt",
    "created_at",
    "started_at",
    "first_token_at",
    "finished_at",
    "timings",
    "text",
    "message",
    "finish_reason",
    "usage",
    "error",
    "metadata",
]
ROUNDING_MS = 5
"""`first_token_at` is told by a worker's clock, set by the database's at the claim."""


def _running(client: Client, job_id: str) -> dict[str, Any]:
    wait_until(lambda: client.job(job_id)["status"] == "in_progress", "the job to run")
    return client.job(job_id)


def _milliseconds(job: dict[str, Any], start: str, end: str) -> int:
    return round((datetime.fromisoformat(job[end]) - datetime.fromisoformat(job[start])).total_seconds() * 1000)


def test_a_job_that_is_over_tells_everything(client: Client) -> None:
    submitted = client.submit(model="demo?tokens=5&first_ms=50&gap_ms=10", metadata={"a": "b"})
    job = client.finished(submitted["id"])
    assert list(job) == FIELDS
    assert job["id"] == job["request_id"] == submitted["id"]
    assert job["conversation_id"] == submitted["conversation_id"]
    assert (job["status"], job["finish_reason"], job["error"]) == ("completed", "stop", None)
    assert (job["model"], job["attempt"], job["metadata"]) == ("demo?tokens=5&first_ms=50&gap_ms=10", 1, {"a": "b"})
    assert job["text"] == counted(5)
    assert job["message"] == {"role": "assistant", "content": counted(5)}
    assert job["usage"] == {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9, "estimated": False}


def test_the_times_and_the_timings_agree(client: Client) -> None:
    job = client.finished(client.submit(model="demo?tokens=10&first_ms=100&gap_ms=20")["id"])
    assert set(job["timings"]) == {"queued_ms", "first_token_ms", "total_ms"}
    assert job["timings"]["queued_ms"] == _milliseconds(job, "created_at", "started_at")
    assert job["timings"]["first_token_ms"] == _milliseconds(job, "created_at", "first_token_at")
    assert job["timings"]["total_ms"] == _milliseconds(job, "created_at", "finished_at")
    assert 0 <= job["timings"]["queued_ms"] <= job["timings"]["first_token_ms"] <= job["timings"]["total_ms"] + ROUNDING_MS

    # And they are what the model was told to take; a first token that is late does not make the rest late
    assert _milliseconds(job, "started_at", "first_token_at") >= 100 - ROUNDING_MS
    assert _milliseconds(job, "started_at", "finished_at") >= 100 + 9 * 20 - ROUNDING_MS


def test_a_queued_job_tells_what_there_is(idle_client: Client) -> None:
    job = idle_client.job(idle_client.submit(metadata={"a": "b"})["id"])
    assert list(job) == FIELDS
    assert (job["status"], job["attempt"], job["text"], job["metadata"]) == ("queued", 0, "", {"a": "b"})
    nothing = ("started_at", "first_token_at", "finished_at", "message", "finish_reason", "usage", "error")
    assert [job[name] for name in nothing] == [None] * len(nothing)
    assert set(job["timings"].values()) == {None}


def test_a_running_job_tells_its_text_so_far(client: Client) -> None:
    # Given a job that has said something and has more to say
    job_id = client.submit(model="demo?tokens=400&first_ms=0&gap_ms=20")["id"]
    wait_until(lambda: client.job(job_id)["text"], "some text")

    # Then what it tells grows, and is always the beginning of the answer
    seen = [client.job(job_id)]
    wait_until(lambda: len(client.job(job_id)["text"]) > len(seen[0]["text"]), "more text")
    seen.append(client.job(job_id))
    for job in seen:
        assert job["status"] == "in_progress"
        assert counted(400).startswith(job["text"])
        assert job["message"] == {"role": "assistant", "content": job["text"]}
        assert (job["finished_at"], job["finish_reason"], job["usage"], job["error"]) == (None, None, None, None)
    client.http.post(f"/jobs/{job_id}/cancel")


def test_waiting_ends_with_the_job(client: Client) -> None:
    # Given a job that is queued at first, then runs: neither is what is waited for
    job_id = client.submit(model="demo?tokens=1&first_ms=3000")["id"]
    began = time.monotonic()
    answer = client.http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=20"})
    assert 0.1 < time.monotonic() - began < 15
    assert answer.json()["status"] == "completed"
    assert answer.headers["preference-applied"] == "wait=20"


def test_waiting_for_a_change_ends_as_the_job_begins(client: Client) -> None:
    # Given a turn that waits for the one before, and then takes a minute
    first = client.submit(model="demo?tokens=1&first_ms=1500")
    job_id = client.submit(model="demo?tokens=1&first_ms=60000", conversation_id=first["conversation_id"])["id"]
    answer = client.http.get(f"/jobs/{job_id}", params={"wait_for": "change"}, headers={"Prefer": "wait=20"})
    assert answer.json()["status"] == "in_progress"
    client.http.post(f"/jobs/{job_id}/cancel")


def test_waiting_for_something_else_is_refused(idle_client: Client) -> None:
    job_id = idle_client.submit()["id"]
    assert_refused(idle_client.http.get(f"/jobs/{job_id}", params={"wait_for": "rain"}), 400, param="wait_for")


def test_waiting_ends_with_its_time(idle_client: Client) -> None:
    job_id = idle_client.submit()["id"]
    began = time.monotonic()
    assert idle_client.job(job_id, wait=1)["status"] == "queued"
    assert 1 <= time.monotonic() - began < 10


def test_waiting_for_a_queued_job_ends_when_it_is_cancelled(idle_client: Client, idle_deployment: Deployment) -> None:
    job_id = idle_client.submit()["id"]
    other = Client(idle_deployment.url, idle_client.token)
    cancel = threading.Timer(0.5, lambda: other.http.post(f"/jobs/{job_id}/cancel"))
    cancel.start()
    began = time.monotonic()
    assert idle_client.job(job_id, wait=20)["status"] == "cancelled"
    assert 0.4 < time.monotonic() - began < 10
    cancel.join()
    other.close()


@pytest.mark.parametrize(
    ("prefer", "applied"), [("wait=30", "wait=30"), ("respond-async, wait=5", "wait=5"), ("wait=99999", "wait=60")]
)
def test_waiting_for_a_job_that_is_over_takes_no_time(client: Client, prefer: str, applied: str) -> None:
    job_id = client.submit(model="demo?tokens=1&first_ms=0")["id"]
    client.finished(job_id)
    began = time.monotonic()
    answer = client.http.get(f"/jobs/{job_id}", headers={"Prefer": prefer})
    assert time.monotonic() - began < 4
    assert answer.headers["preference-applied"] == applied


@pytest.mark.parametrize("prefer", ["", "wait", "wait=", "wait=-1", "wait=soon", "return=minimal", "await=30"])
def test_another_preference_is_passed_over(idle_client: Client, prefer: str) -> None:
    job_id = idle_client.submit()["id"]
    began = time.monotonic()
    answer = idle_client.http.get(f"/jobs/{job_id}", headers={"Prefer": prefer})
    assert time.monotonic() - began < 4
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
