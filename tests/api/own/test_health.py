"""`/healthz` and `/readyz`, and the id that every answer carries."""

import httpx2
import pytest

from dev.testing.client import Client
from tests.api.deployment import Deployment

ALL_IS_WELL = {"database": "ok", "redis": "ok", "worker": "ok"}


def test_a_process_that_answers_is_alive(anonymous: httpx2.Client) -> None:
    answer = anonymous.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_deployment_with_a_worker_is_ready(anonymous: httpx2.Client) -> None:
    answer = anonymous.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": ALL_IS_WELL})


def test_a_deployment_without_a_worker_says_so(idle_deployment: Deployment) -> None:
    answer = httpx2.get(f"{idle_deployment.url}/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert answer.json()["checks"] == {**ALL_IS_WELL, "worker": "No worker is alive."}


@pytest.mark.parametrize("request_id", ["a", "req-1", "A.b:c_d-9", "x" * 128])
def test_a_sane_request_id_comes_back(anonymous: httpx2.Client, request_id: str) -> None:
    assert anonymous.get("/healthz", headers={"X-Request-Id": request_id}).headers["x-request-id"] == request_id


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "a/b", "<script>", 'a"b', "é", "a\tb"])
def test_another_request_id_is_replaced(anonymous: httpx2.Client, request_id: str) -> None:
    answer = anonymous.get("/healthz", headers=[(b"X-Request-Id", request_id.encode())])
    assert answer.headers["x-request-id"].startswith("req_")


def test_every_answer_has_a_request_id_of_its_own(client: Client) -> None:
    answers = [client.http.get(path) for path in ("/jobs", "/jobs", "/jobs/x", "/nothing", "/readyz", "/openapi.json")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_a_request_id_is_in_the_log(anonymous: httpx2.Client, deployment: Deployment) -> None:
    request_id = "a-request-to-be-found"
    anonymous.get("/healthz", headers={"X-Request-Id": request_id})
    assert any(request_id in web.log() for web in deployment.stack.webs)
