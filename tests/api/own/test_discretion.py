"""What must not be seen: prompts, answers, passwords, tokens and tickets, in logs, in the broker and in Flower."""

import base64
import secrets
from typing import Any

import httpx2
import orjson
import pytest
from sqlalchemy import text

from dev.testing.client import Client
from tests.api.conftest import ON_POSTGRESQL
from tests.api.deployment import Deployment
from tests.api.event_stream import events
from tests.api.refusals import assert_refused


def _submit_secrets(client: Client, secret: str, **body: Any) -> dict[str, Any]:
    return client.submit(
        f"My prompt is {secret}",
        system=f"My system is {secret}",
        metadata={"mine": secret},
        tools=[{"type": "function", "function": {"name": f"f_{secret}", "description": secret}}],
        tool_choice="none",
        headers={"Idempotency-Key": f"key-{secret}"},
        **body,
    )


@pytest.fixture(scope="module")
def confidential(deployment: Deployment) -> list[str]:
    """All texts that no log may hold, after they were used in every way."""
    secret = secrets.token_hex(16)
    user = deployment.user()
    done = _submit_secrets(user, secret, model="demo?echo=1&first_ms=0&gap_ms=0")
    failed = _submit_secrets(deployment.user(), secret, model="demo?fail=400")
    cancelled = deployment.user()
    running = _submit_secrets(cancelled, secret, model="demo?tokens=500&gap_ms=40")
    for job in (done, failed):
        events(job["stream_url"])
    assert cancelled.http.post(f"/jobs/{running['id']}/cancel").status_code == 200
    assert secret in user.finished(done["id"])["text"]
    user.http.get("/jobs", params={"after": secret, "ticket": secret})
    user.http.post("/jobs", json={"message": secret, "mood": secret})
    user.http.post("/jobs", content=b'{"message": "' + secret.encode())
    credentials = {"username": f"u-{secret[:8]}", "password": f"password-{secret}"}
    assert user.http.post("/auth/register", json=credentials).status_code == 201
    tokens = user.http.post("/auth/login", json=credentials).json()
    user.http.post("/auth/login", json={**credentials, "password": f"another-{secret}"})
    user.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    tickets = [job["stream_url"].partition("ticket=")[2] for job in (done, failed, running)]
    return [secret, user.token, tokens["access_token"], tokens["refresh_token"], *tickets]


def test_no_log_holds_what_is_confidential(deployment: Deployment, confidential: list[str]) -> None:
    assert all(process.log() for process in (deployment.stack.webs[0], *deployment.stack.workers))
    for process in (*deployment.stack.webs, *deployment.stack.workers):
        log = process.log()
        assert not [secret for secret in confidential if secret in log], process.name


def test_each_request_is_in_the_log_without_its_query(deployment: Deployment, confidential: list[str]) -> None:
    lines = [orjson.loads(line) for line in deployment.stack.webs[0].log().splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["event"] == "http.request"]
    assert {"method", "path", "status", "ms", "request"} <= set(requests[-1])
    assert any(line["path"].endswith("/events") for line in requests)
    assert not any("?" in line["path"] for line in requests)


def test_a_worker_writes_json_from_its_start(deployment: Deployment) -> None:
    lines = [orjson.loads(line) for line in deployment.stack.workers[0].log().splitlines() if line.startswith("{")]
    assert [line["level"] for line in lines if line["event"] == "worker.started"] == ["info"]


def _set_lock_timeout(deployment: Deployment, how: str) -> None:
    """Change what connections to this database have from now on."""
    with deployment.database.write() as session:
        session.execute(text(f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {how}', current_database()); END $$"))


@ON_POSTGRESQL
def test_a_database_that_is_too_busy_is_reported_without_what_was_to_be_stored(deployment: Deployment) -> None:
    # Given an API process that waits for a lock only briefly, and a lock that is not released
    secret = secrets.token_hex(16)
    user = deployment.user()
    _set_lock_timeout(deployment, "SET lock_timeout = 200")
    try:
        web = deployment.stack.start_web()
        with deployment.database.write() as session:
            session.execute(text("LOCK TABLE conversations"))

            # When a user submits, then they are told to come again, and no log holds what they sent
            url = f"{deployment.stack.urls[-1]}/jobs"
            answer = httpx2.post(url, json={"message": secret, "system": secret}, headers=user.http.headers, timeout=30)
    finally:
        _set_lock_timeout(deployment, "RESET lock_timeout")
    error = assert_refused(answer, 503, code="unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert secret not in error["message"]
    assert user.http.get("/jobs").json()["data"] == []
    assert secret not in web.log()


def _values(redis: Any) -> dict[bytes, bytes]:
    """Everything that a Redis holds, as it keeps it."""
    return {key: redis.dump(key) or b"" for key in redis.scan_iter()}


def test_the_broker_holds_a_job_id_and_nothing_else(idle_client: Client, idle_deployment: Deployment) -> None:
    # Given a job that waits in the queue
    secret = secrets.token_hex(16)
    job = _submit_secrets(idle_client, secret)

    # Then its message holds the job's id, and neither it nor any other key holds more
    message = orjson.loads(idle_deployment.ring_for(job["id"]))
    arguments, keywords, _ = orjson.loads(base64.b64decode(message["body"]))
    assert (arguments, keywords) == ([job["id"]], {})
    headers = message["headers"]
    assert (headers["argsrepr"], headers["kwargsrepr"]) == (f"('{job['id']}',)", "{}")
    assert idle_client.token not in str(message)
    for held in (message["body"], str(message), base64.b64decode(message["body"]).decode()):
        assert secret not in held
    for key, value in _values(idle_deployment.redis.client).items():
        assert secret.encode() not in key
        assert secret.encode() not in value
