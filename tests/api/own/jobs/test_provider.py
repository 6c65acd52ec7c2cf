"""What the provider refuses: the job fails with the provider's own words, and nothing else suffers."""

from collections.abc import Iterator
from typing import Any

import pytest

from dev.testing.client import Client
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment, deployed
from tests.api.event_stream import events

QUICK = "demo?tokens=1&first_ms=0"


@ON_SQLITE
@pytest.mark.parametrize(
    ("model", "code", "message", "status"),
    [
        ("demo?fail=400", "provider_error", "Call 1 was ordered to fail with status 400.", 400),
        ("demo?fail=401", "invalid_api_key", "Call 1 was ordered to fail with status 401.", 401),
        ("another-model", "model_not_found", "The model `another-model` does not exist.", 404),
    ],
)
def test_a_refusal_fails_the_job_at_once(client: Client, model: str, code: str, message: str, status: int) -> None:
    # Given a job that the provider refuses
    job = client.submit(model=model)
    received = events(job["stream_url"])

    # Then its log ends with the provider's own words, and its status says the same
    assert [each["type"] for each in received] == ["started", "failed"]
    assert received[-1]["error"] == {"code": code, "message": message, "provider_status": status}
    end = client.finished(job["id"])
    assert (end["status"], end["text"], end["attempt"]) == ("failed", "", 1)
    assert end["error"] == received[-1]["error"]
    assert end["usage"] == received[-1]["usage"]

    # And the next job is done
    assert client.finished(client.submit(model=QUICK)["id"])["status"] == "completed"


@ON_SQLITE
def test_a_refusal_of_a_turn_does_not_end_its_conversation(client: Client) -> None:
    job = client.submit("One.", model="demo?fail=400")
    after = client.submit("Two.", model="demo?echo=1&gap_ms=0", conversation_id=job["conversation_id"])
    assert client.finished(job["id"])["status"] == "failed"
    assert client.finished(after["id"])["status"] == "completed"


@ON_SQLITE
def test_a_provider_that_recovers_is_not_noticed_but_in_the_log(client: Client) -> None:
    job = client.submit(model="demo?tokens=3&first_ms=0&fail=500&fail_times=1")
    received = events(job["stream_url"])
    assert [each["type"] for each in received] == ["started", "restarted", "delta", "delta", "delta", "completed"]
    assert received[1] == {"seq": 2, "type": "restarted", "attempt": 2, "reason": "provider_error"}
    end = client.finished(job["id"])
    assert (end["status"], end["attempt"], end["error"]) == ("completed", 2, None)


@ON_SQLITE
def test_an_answer_that_breaks_off_may_fail_instead_of_starting_anew(client: Client) -> None:
    job = client.submit(model="demo?tokens=9&first_ms=0&drop_at=3", on_interrupt="fail")
    received = events(job["stream_url"])
    assert [each["type"] for each in received] == ["started", "delta", "delta", "delta", "failed"]
    end = client.finished(job["id"])
    assert (end["status"], end["text"], end["error"]["code"]) == ("failed", "1 2 3 ", "provider_broke_off")
    assert end["usage"]["estimated"] is True


@pytest.fixture(scope="module")
def locked_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose key the provider does not know."""
    folder = tmp_path_factory.mktemp("locked-out")
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", {"OPENAI_API_KEY": "sk-bad"}) as started:
        yield started


def test_a_wrong_key_fails_each_job_and_no_worker(locked_out: Deployment) -> None:
    user = locked_out.user()
    received: list[dict[str, Any]] = [events(user.submit(model=QUICK)["stream_url"])[-1] for _ in range(3)]
    refused = {"code": "invalid_api_key", "message": "Incorrect API key provided.", "provider_status": 401}
    assert [each["error"] for each in received] == [refused] * 3
    assert locked_out.stack.stats()["requests"] == 0
    assert [worker.is_running() for worker in locked_out.stack.workers] == [True]
    assert user.http.get("/readyz").status_code == 200


def test_a_key_is_never_shown(locked_out: Deployment) -> None:
    user = locked_out.user()
    job = user.submit(model=QUICK)
    shown = [user.http.get(path).text for path in (f"/jobs/{job['id']}?", f"/jobs/{job['id']}/events", "/jobs")]
    logs = [process.log() for process in (*locked_out.stack.webs, *locked_out.stack.workers)]
    assert not any("sk-bad" in text for text in shown + logs)
