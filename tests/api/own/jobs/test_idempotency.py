"""`Idempotency-Key`: the same key and body is the same job, whichever request comes first."""

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from dev.testing.client import Client
from tests.api.deployment import Deployment
from tests.api.refusals import assert_refused

RACERS = 12


def _key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(8)}


def _jobs(client: Client) -> list[str]:
    return [job["id"] for job in client.http.get("/jobs").json()["data"]]


def test_the_same_key_and_body_is_the_same_job(idle_client: Client, idle_deployment: Deployment) -> None:
    # Given a job under a key
    key = _key()
    first = idle_client.submit("Hello", headers=key, metadata={"a": "1", "b": "2"})
    traces = idle_deployment.traces()

    # When the same is asked again, then the answer is the same job with a ticket of its own
    again = idle_client.submit("Hello", headers=key, metadata={"b": "2", "a": "1"})
    assert again.pop("stream_url") != first.pop("stream_url")
    assert again == first
    assert idle_deployment.traces() == traces
    assert _jobs(idle_client) == [first["id"]]


def test_a_replay_tells_how_the_job_is_now(client: Client) -> None:
    key = _key()
    job = client.submit(headers=key, model="demo?tokens=1&first_ms=0")
    client.finished(job["id"])
    again = client.submit(headers=key, model="demo?tokens=1&first_ms=0")
    assert (again["id"], again["status"]) == (job["id"], "completed")
    assert client.http.get(again["stream_url"], headers={"Authorization": ""}).status_code == 200


@pytest.mark.parametrize(
    "other", [{"message": "Goodbye"}, {"temperature": 1}, {"model": "demo?tokens=1"}, {"metadata": {"a": "1"}}]
)
def test_the_same_key_with_another_body_is_refused(idle_client: Client, idle_deployment: Deployment, other: dict[str, Any]) -> None:
    key = _key()
    job = idle_client.submit("Hello", headers=key)
    traces = idle_deployment.traces()
    answer = idle_client.http.post("/jobs", json={"message": "Hello", **other}, headers=key)
    assert_refused(answer, 409, param="Idempotency-Key", code="idempotency_key_reused")
    assert answer.headers["x-should-retry"] == "false"
    assert idle_deployment.traces() == traces
    assert _jobs(idle_client) == [job["id"]]


def test_another_users_same_key_is_another_job(idle_client: Client, idle_deployment: Deployment) -> None:
    key = _key()
    other = idle_deployment.user()
    assert idle_client.submit("Hello", headers=key)["id"] != other.submit("Hello", headers=key)["id"]


def test_a_refused_request_does_not_spend_its_key(idle_client: Client) -> None:
    key = _key()
    unknown = idle_client.http.post("/jobs", json={"message": "Hello", "conversation_id": "conv_1"}, headers=key)
    assert_refused(unknown, 404)
    idle_client.submit("Hello", headers=key)


def test_a_deleted_job_frees_its_key(idle_client: Client) -> None:
    key = _key()
    job = idle_client.submit("Hello", headers=key)
    assert idle_client.http.delete(f"/jobs/{job['id']}").status_code == 204
    assert idle_client.submit("Hello", headers=key)["id"] != job["id"]


def _race(client: Client, bodies: list[dict[str, Any]]) -> list[httpx2.Response]:
    """Send all bodies at the same moment under one key, each over a connection of its own."""
    start = threading.Barrier(len(bodies))
    headers = {"Authorization": f"Bearer {client.token}", **_key()}

    def send(body: dict[str, Any]) -> httpx2.Response:
        with httpx2.Client(base_url=client.url, headers=headers, timeout=30, verify=False) as http:
            http.get("/healthz")  # connects
            start.wait()
            return http.post("/jobs", json=body)

    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(send, bodies))


def test_a_race_for_one_key_gives_one_job(idle_client: Client, idle_deployment: Deployment) -> None:
    before = idle_deployment.traces()
    answers = _race(idle_client, [{"message": "Hello"}] * RACERS)
    assert [answer.status_code for answer in answers] == [202] * RACERS
    assert {answer.json()["id"] for answer in answers} == set(_jobs(idle_client))
    assert len(_jobs(idle_client)) == 1

    # And one job's traces: a job, a conversation, a message, a key and one ring
    assert [after - earlier for after, earlier in zip(idle_deployment.traces(), before, strict=True)] == [1, 1, 1, 1, 1]


def test_a_race_of_different_bodies_for_one_key_has_one_winner(idle_client: Client) -> None:
    answers = _race(idle_client, [{"message": f"Hello {number}"} for number in range(RACERS)])
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * (RACERS - 1)
    assert len(_jobs(idle_client)) == 1
