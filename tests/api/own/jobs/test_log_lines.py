"""What the API's log says of a job: from `x-request-id` to the job, and how it ended where no worker ended it."""

import secrets
from typing import Any

import orjson
import pytest

from dev.testing.client import Client
from dev.testing.stack import wait_until
from tests.api.deployment import Deployment


def lines(deployment: Deployment, event: str, job_id: str) -> list[dict[str, Any]]:
    """The lines of all API processes that log an event of a job."""
    logged = [line for process in deployment.stack.webs for line in process.log().splitlines() if event in line and job_id in line]
    return [orjson.loads(line) for line in logged]


def line(deployment: Deployment, event: str, job_id: str) -> dict[str, Any]:
    wait_until(lambda: lines(deployment, event, job_id), f"{event} to be logged")
    (found,) = lines(deployment, event, job_id)
    return found


@pytest.mark.parametrize("idle_deployment", ["sqlite"], indirect=True)
def test_a_request_id_leads_to_the_job(idle_deployment: Deployment, idle_client: Client) -> None:
    request_id = secrets.token_hex(8)
    job = idle_client.submit("Hello", headers={"X-Request-Id": request_id, "Idempotency-Key": request_id})
    accepted = line(idle_deployment, "job.accepted", job["id"])
    assert (accepted["event"], accepted["request"]) == ("job.accepted", request_id)

    # And the same request again is said to be a replay
    idle_client.submit("Hello", headers={"X-Request-Id": "again-" + request_id, "Idempotency-Key": request_id})
    assert line(idle_deployment, "job.replayed", job["id"])["request"] == "again-" + request_id
    assert len(lines(idle_deployment, "job.accepted", job["id"])) == 1


@pytest.mark.parametrize("idle_deployment", ["sqlite"], indirect=True)
def test_a_job_that_the_api_ends_is_said_to_have_ended(idle_deployment: Deployment, idle_client: Client) -> None:
    job = idle_client.submit("Hello")
    assert idle_client.http.post(f"/jobs/{job['id']}/cancel").status_code == 200

    ended = line(idle_deployment, "job.ended_by_api", job["id"])
    assert (ended["status"], ended["attempt"]) == ("cancelled", 1)
