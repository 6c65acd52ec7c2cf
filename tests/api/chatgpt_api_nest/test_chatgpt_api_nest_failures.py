"""ChatGPT API powered by NestJS: what a client reads when a request is refused, fails, is cancelled, or comes twice."""

import secrets
import threading
from typing import Any

import httpx2
import pytest

from dev.testing.client import Client
from dev.testing.stack import wait_until
from tests.api.chatgpt_api_nest.calls import ask, messages, stream_events, use
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment, deployed
from tests.api.tokens import access_token

pytestmark = ON_SQLITE

UNAUTHORIZED = {"statusCode": 401, "message": "Unauthorized"}


def _asked(client: Client, **body: Any) -> httpx2.Response:
    return client.http.post("/chat/process", json={"message": secrets.token_hex(8), **body})


def _assert_refused(refused: httpx2.Response, status: int, error: str) -> str:
    assert refused.status_code == status, refused.text
    assert (refused.json()["statusCode"], refused.json()["error"]) == (status, error)
    return str(refused.json()["message"])


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("fail=400&fail_times=9", 500, "Internal Server Error"),
        ("fail=401&fail_times=9", 500, "Internal Server Error"),
        ("fail=429&fail_times=9&retry_after=3600", 429, "Too Many Requests"),
        ("fail=503&fail_times=9&retry_after=3600", 503, "Service Unavailable"),
    ],
)
def test_a_providers_refusal_has_its_cause_in_the_answer(client: Client, fault: str, status: int, error: str) -> None:
    use(client, f"demo?{fault}")
    refused = _asked(client)
    assert "ordered to fail" in _assert_refused(refused, status, error)
    assert ("retry-after" in refused.headers) is (status in {429, 503})


def test_where_no_agent_is_connected_it_is_503(client: Client) -> None:
    use(client, "agent")
    _assert_refused(_asked(client), 503, "Service Unavailable")
    assert stream_events(client, ask(client, stream=True)["request_id"]) == [{"error": "No agent is connected."}]


def test_what_was_cancelled_elsewhere_is_told(client: Client) -> None:
    use(client, "demo?tokens=100&gap_ms=50")
    request_id = ask(client, stream=True)["request_id"]
    client.http.post(f"/jobs/{request_id}/cancel")
    assert stream_events(client, request_id)[-1] == {"error": "The request was cancelled"}


def test_who_waits_for_what_is_cancelled_elsewhere_is_told(client: Client) -> None:
    use(client, "demo?tokens=400&gap_ms=50")
    answers: list[httpx2.Response] = []
    idle_client = threading.Thread(target=lambda: answers.append(_asked(client)))
    idle_client.start()
    jobs = "/jobs?status=in_progress"
    wait_until(lambda: client.http.get(jobs).json()["data"], "the answer to begin")
    client.http.post(f"/jobs/{client.http.get(jobs).json()['data'][0]['id']}/cancel")
    idle_client.join(30)
    assert _assert_refused(answers[0], 500, "Internal Server Error") == "The request was cancelled"


def test_the_same_key_is_the_same_request(client: Client) -> None:
    for stream in (True, False):
        body, headers = {"message": "Hello", "stream": stream}, {"Idempotency-Key": secrets.token_hex(8)}
        first, again = [client.http.post("/chat/process", json=body, headers=headers) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        other = client.http.post("/chat/process", json={**body, "message": "Bye"}, headers=headers)
        _assert_refused(other, 409, "Conflict")
        if stream:
            stream_events(client, first.json()["request_id"])
        assert len(messages(client, first.json()["session_id"])) == 2


def test_a_missing_malformed_foreign_or_old_token_is_401(deployment: Deployment) -> None:
    user_id = secrets.token_hex(8)
    tokens = ("", "x", f"Bearer {access_token(user_id, key='another' * 8)}", f"Bearer {access_token(user_id, exp=1)}")
    for headers in ({}, *({"Authorization": token} for token in tokens)):
        for method, path in (("GET", "/chat/sessions"), ("POST", "/chat/process"), ("GET", "/user/usage")):
            refused = httpx2.request(method, deployment.url + path, headers=headers)
            assert (refused.status_code, refused.json()) == (401, UNAUTHORIZED), (method, path, headers)


def test_what_moderation_flags_is_400(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("moderated")
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", {"MODERATE": "on"}) as deployment, deployment.user() as client:
        message = _assert_refused(_asked(client, message="flagme, please"), 400, "Bad Request")
        flagged = ask(client, "flagme, please", stream=True)["request_id"]
        assert set(stream_events(client, flagged)[-1]) == {"error"}
        assert stream_events(client, flagged)[-1]["error"] in message
        assert _asked(client).status_code == 201
