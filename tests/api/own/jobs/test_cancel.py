"""`POST /jobs/{id}/cancel` and `DELETE /jobs/{id}`: stop a job, and forget it."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from dev.testing.client import Client, counted
from dev.testing.stack import wait_until
from shared.redis import keyspace
from tests.api.deployment import Deployment
from tests.api.event_stream import events, events_of, open_stream
from tests.api.refusals import assert_refused

SOON_SECONDS = 5.0
"""How fast the provider's socket closes."""


def _cancel(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    answer = client.http.post(f"/jobs/{job['id']}/cancel")
    assert answer.status_code == 200, answer.text
    now: dict[str, Any] = answer.json()
    return now


def _await_running(client: Client, job: dict[str, Any]) -> None:
    wait_until(lambda: client.job(job["id"])["status"] == "in_progress", "the job to run")


def _left_at(deployment: Deployment, message: str) -> float | None:
    """When the model saw the client leave that had sent this message, by the clock that all processes of a machine share."""
    stats: dict[str, Any] = deployment.stack.stats()
    return next((clock / 1e9 for key, clock in stats["disconnect_clock"] if key.endswith(message)), None)


def _assert_hung_up(deployment: Deployment, message: str, began: float) -> None:
    wait_until(lambda: _left_at(deployment, message), "the provider's socket to close", seconds=5)
    left_at = _left_at(deployment, message)
    assert left_at is not None
    assert left_at - began < SOON_SECONDS


def _was_asked(deployment: Deployment, message: str) -> bool:
    calls: Any = deployment.stack.stats()["by_key"]
    return any(key.endswith(message) for key in calls)


def test_a_queued_job_is_cancelled_on_the_spot(idle_client: Client) -> None:
    job = idle_client.submit("Hello there")
    now = _cancel(idle_client, job)
    assert (now["status"], now["text"], now["started_at"], now["error"]) == ("cancelled", "", None, None)
    assert now["finished_at"] is not None
    assert now["usage"]["estimated"] is True
    assert now["usage"]["completion_tokens"] == 0
    assert idle_client.job(job["id"]) == now

    # And its log says so, and nothing else
    assert events(job["stream_url"]) == [{"seq": 1, "type": "cancelled", "usage": now["usage"]}]


def test_a_reader_of_a_queued_job_sees_it_cancelled(idle_client: Client) -> None:
    job = idle_client.submit()
    with open_stream(job["stream_url"]) as blocks:
        assert next(blocks) == b"retry: 500"
        began = time.monotonic()
        _cancel(idle_client, job)
        assert [each["type"] for each in events_of(blocks)] == ["cancelled"]
    assert time.monotonic() - began < 10


def test_a_job_is_cancelled_before_its_first_token(client: Client, deployment: Deployment) -> None:
    message = secrets.token_hex(8)
    job = client.submit(message, model="demo?first_ms=50000")
    wait_until(lambda: _was_asked(deployment, message), "the provider to be asked")
    began = time.monotonic()
    now = _cancel(client, job)
    assert (now["status"], now["text"], now["first_token_at"]) == ("cancelled", "", None)
    _assert_hung_up(deployment, message, began)
    assert [each["type"] for each in events(job["stream_url"])] == ["started", "cancelled"]


def test_a_job_is_cancelled_in_the_middle(client: Client, deployment: Deployment) -> None:
    # Given a job that has said something, and somebody who reads it
    message = f"Count to 500, {secrets.token_hex(8)}"
    job = client.submit(message, model="demo?tokens=500&first_ms=0&gap_ms=40")
    with open_stream(job["stream_url"]) as blocks:
        assert next(blocks) == b"retry: 500"
        seen = list(islice(events_of(blocks), 8))

        # When it is cancelled
        began = time.monotonic()
        now = _cancel(client, job)
        seen += events_of(blocks)

    # Then the provider is hung up on, and the text so far is kept, with an estimate of what it cost
    _assert_hung_up(deployment, message, began)
    assert now["status"] == seen[-1]["type"] == "cancelled"
    assert [each["seq"] for each in seen] == list(range(1, len(seen) + 1))
    assert now["text"] == "".join(each["delta"]["content"] for each in seen if each["type"] == "delta")
    assert len(now["text"]) >= len(counted(7))
    assert counted(500).startswith(now["text"])
    assert now["usage"]["estimated"] is True
    assert now["usage"]["completion_tokens"] > 0
    assert now["usage"]["prompt_tokens"] > 0
    assert seen[-1]["usage"] == now["usage"]
    assert now["finish_reason"] is None
    assert events(job["stream_url"]) == seen


def test_cancelling_again_changes_nothing(client: Client) -> None:
    job = client.submit(model="demo?tokens=500&gap_ms=40")
    _await_running(client, job)
    first = _cancel(client, job)
    assert first["status"] == "cancelled"
    assert _cancel(client, job) == _cancel(client, job) == first


def test_many_cancel_at_once(client: Client, deployment: Deployment) -> None:
    job = client.submit(model="demo?tokens=500&gap_ms=40")
    _await_running(client, job)
    others = [Client(deployment.url, client.token) for _ in range(5)]
    with ThreadPoolExecutor(len(others)) as threads:
        answers = list(threads.map(lambda other: _cancel(other, job), others))
    for other in others:
        other.close()
    assert [answer["status"] for answer in answers] == ["cancelled"] * 5
    assert sum(each["type"] == "cancelled" for each in events(job["stream_url"])) == 1


def test_cancelling_after_the_end_changes_nothing(client: Client) -> None:
    job = client.submit(model="demo?tokens=3&first_ms=0&gap_ms=0")
    end = client.finished(job["id"])
    assert end["status"] == "completed"
    assert _cancel(client, job) == end
    assert client.job(job["id"]) == end


def test_a_conversation_goes_on_after_a_cancel(client: Client) -> None:
    job = client.submit("One.", model="demo?tokens=500&gap_ms=40")
    wait_until(lambda: client.job(job["id"])["text"], "some text")
    text = _cancel(client, job)["text"]
    after = client.submit("Two.", model="demo?echo=1&gap_ms=0", conversation_id=job["conversation_id"])
    assert text.strip() in client.finished(after["id"])["text"]


def _assert_gone(client: Client, deployment: Deployment, job: dict[str, Any]) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
        assert_refused(client.http.request(method, f"/jobs/{job['id']}{path}"), 404, param="job_id")
    assert_refused(client.http.get(job["stream_url"], headers={"Authorization": ""}), 404)
    assert job["id"] not in [other["id"] for other in client.http.get("/jobs").json()["data"]]
    # The worker may have written its end just behind the deletion
    wait_until(lambda: not deployment.redis.client.exists(keyspace.log_key(job["id"])), "the log to be gone")


def _delete(client: Client, job: dict[str, Any]) -> None:
    answer = client.http.delete(f"/jobs/{job['id']}")
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_finished_job_is_deleted_with_its_log(client: Client, deployment: Deployment) -> None:
    job = client.submit(model="demo?tokens=3&first_ms=0")
    client.finished(job["id"])
    assert deployment.redis.client.exists(keyspace.log_key(job["id"])) == 1
    _delete(client, job)
    _assert_gone(client, deployment, job)


def test_a_running_job_is_stopped_and_deleted(client: Client, deployment: Deployment) -> None:
    # Given a running job and its reader
    message = secrets.token_hex(8)
    job = client.submit(message, model="demo?tokens=500&first_ms=0&gap_ms=40")
    with open_stream(job["stream_url"]) as blocks:
        assert next(blocks) == b"retry: 500"
        assert [each["type"] for each in islice(events_of(blocks), 3)] == ["started", "delta", "delta"]

        # When it is deleted, then it is gone, its reader was told, and the provider was hung up on
        began = time.monotonic()
        _delete(client, job)
        _assert_gone(client, deployment, job)
        assert [each["type"] for each in events_of(blocks)][-1] == "cancelled"
    _assert_hung_up(deployment, message, began)

    # And its log does not stay, though the worker may have written its end just behind the deletion
    wait_until(lambda: not deployment.redis.client.exists(keyspace.log_key(job["id"])), "the log to be gone")


def test_a_queued_job_is_deleted(idle_client: Client, idle_deployment: Deployment) -> None:
    job = idle_client.submit()
    _delete(idle_client, job)
    _assert_gone(idle_client, idle_deployment, job)


def test_a_deleted_jobs_conversation_goes_on(client: Client) -> None:
    job = client.submit("One.", model="demo?tokens=3&first_ms=0&gap_ms=0")
    client.finished(job["id"])
    _delete(client, job)
    after = client.submit("Two.", model="demo?echo=1&gap_ms=0", conversation_id=job["conversation_id"])
    assert "One." in client.finished(after["id"])["text"]
