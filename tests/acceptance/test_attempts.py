"""Second attempts: what the provider does wrong, how often it is asked again, and what the client is told."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dev.testing.client import Client, Reading, counted
from dev.testing.stack import SHORT_LEASES, Redis, Stack, running, wait_until

LIMITS = {**SHORT_LEASES, "MAX_TRIES": "3", "STALL_SECONDS": "3", "JOB_DEADLINE_SECONDS": "14", "MAX_LOG_BYTES": "20000"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis) -> Iterator[Stack]:
    redis_server.client.flushall()
    folder = tmp_path_factory.mktemp("attempts")
    database_url = f"sqlite:///{folder / 'chatrelay.db'}"
    with running(Stack(folder, redis_server.url, database_url, **LIMITS)) as started:
        yield started


def ask(client: Client, model: str, **body: Any) -> tuple[dict[str, Any], Reading, str]:
    """Submit and read to the end: the job, what was read, and the words by which the model's counts are found."""
    words = f"asked {secrets.token_hex(8)}"
    job = client.submit(words, model=model, **body)
    reading = client.events(job["id"])
    return client.finished(job["id"]), reading, words


def calls(stack: Stack, words: str) -> int:
    asked = stack.stats()["by_key"]
    assert isinstance(asked, dict)
    return sum(count for key, count in asked.items() if words in key)


@pytest.mark.parametrize("fault", ["fail=500&fail_times=2", "fail=429", "fail=408", "fail=409", "drop_at=0", "fail=503"])
def test_what_fails_before_any_text_is_asked_again(client: Client, stack: Stack, fault: str) -> None:
    job, reading, words = ask(client, f"demo?tokens=20&gap_ms=5&{fault}")
    failures = 2 if "fail_times=2" in fault else 1
    assert (job["status"], job["attempt"], calls(stack, words)) == ("completed", failures + 1, failures + 1)
    assert reading.text == job["text"] == counted(20)
    reading.assert_dense()


@pytest.mark.parametrize("fault", ["drop_at=10", "bad_at=10", "stall_at=10"])
def test_what_breaks_off_begins_anew(client: Client, stack: Stack, fault: str) -> None:
    job, reading, words = ask(client, f"demo?tokens=20&gap_ms=5&{fault}")
    assert (job["status"], job["attempt"], calls(stack, words)) == ("completed", 2, 2)
    assert reading.text == job["text"] == counted(20)
    reading.assert_dense()
    restarts = [event for event in reading.events if event["type"] == "restarted"]
    assert [(event["attempt"], event["reason"]) for event in restarts] == [(2, "provider_error")]


@pytest.mark.parametrize("fault", ["drop_at=10", "stall_at=10"])
def test_a_job_that_wants_no_restart_fails_with_its_text(client: Client, stack: Stack, fault: str) -> None:
    job, reading, words = ask(client, f"demo?tokens=20&gap_ms=5&{fault}", on_interrupt="fail")
    assert (job["status"], calls(stack, words)) == ("failed", 1)
    assert reading.text == job["text"] == counted(10)
    assert reading.last["type"] == "failed"
    assert job["usage"]["estimated"] is True
    assert job["usage"]["completion_tokens"] > 0


def test_a_job_that_wants_no_restart_is_still_asked_again_before_any_text(client: Client) -> None:
    job, _, _ = ask(client, "demo?tokens=5&gap_ms=5&fail=500", on_interrupt="fail")
    assert (job["status"], job["attempt"]) == ("completed", 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_final_and_told(client: Client, stack: Stack, status: int) -> None:
    job, reading, words = ask(client, f"demo?tokens=5&fail={status}&fail_times=9")
    assert (job["status"], job["attempt"], calls(stack, words)) == ("failed", 1, 1)
    assert job["error"]["provider_status"] == status
    assert job["error"]["message"]
    assert reading.last["error"] == job["error"]


def test_tries_are_bounded_and_the_last_error_is_told(client: Client, stack: Stack) -> None:
    begun = time.monotonic()
    job, _, words = ask(client, "demo?tokens=5&fail=500&fail_times=9")
    assert (job["status"], job["attempt"], calls(stack, words)) == ("failed", 3, 3)
    assert job["error"]["provider_status"] == 500
    assert time.monotonic() - begun < 30


def test_a_short_retry_after_is_obeyed(client: Client) -> None:
    job, _, _ = ask(client, "demo?tokens=5&gap_ms=5&fail=429&retry_after=2")
    assert job["status"] == "completed"
    assert job["timings"]["total_ms"] >= 2000


def test_a_long_retry_after_waits_in_the_queue(client: Client, stack: Stack) -> None:
    # Given a provider that wants us away for six seconds
    job = client.submit(model="demo?tokens=5&gap_ms=5&fail=429&retry_after=6")
    wait_until(lambda: client.job(job["id"])["attempt"] >= 2, "the job to be given back")

    # Then the job goes back to the queue and frees its thread, and is done after that
    assert client.job(job["id"])["status"] == "queued"
    ended = client.finished(job["id"])
    assert ended["status"] == "completed"
    assert ended["timings"]["total_ms"] >= 6000


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(client: Client) -> None:
    job, _, _ = ask(client, "demo?tokens=5&fail=429&retry_after=600")
    assert (job["status"], job["error"]["provider_status"]) == ("failed", 429)


def test_a_provider_that_never_ends_meets_the_deadline(client: Client) -> None:
    job, reading, _ = ask(client, "demo?tokens=2000&gap_ms=100")
    assert (job["status"], job["error"]["code"]) in [("failed", "deadline_exceeded"), ("incomplete", None)]
    assert reading.text == job["text"]


def test_a_log_that_grows_too_large_ends_incomplete(client: Client) -> None:
    job, reading, _ = ask(client, "demo?tokens=2000&gap_ms=0")
    assert (job["status"], job["finish_reason"]) == ("incomplete", "length")
    assert 0 < len(reading.text) < len(counted(2000))
    assert reading.text == job["text"]
    reading.assert_dense()


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_cut_answer_is_incomplete(client: Client, reason: str) -> None:
    job, reading, _ = ask(client, f"demo?tokens=5&gap_ms=5&finish={reason}")
    assert (job["status"], job["finish_reason"], reading.last["type"]) == ("incomplete", reason, "incomplete")
    assert reading.text == counted(5)
