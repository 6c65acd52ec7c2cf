"""A client of OpenAI's API that hangs up: its answer is cancelled, unless somebody reads it, or comes back in time."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from dev.testing.client import Client
from dev.testing.stack import SHORT_LEASES, Redis, Stack, running, wait_until
from shared.redis import keyspace

ABANDONED_SECONDS = 3
LONG = "demo?tokens=4000&gap_ms=10"
"""An answer of forty seconds."""
SILENT = "demo?tokens=20&gap_ms=5&stall_at=1&fail_times=99"
SETTINGS = {
    **SHORT_LEASES,
    "ABANDONED_SECONDS": str(ABANDONED_SECONDS),
    "SWEEP_SECONDS": "0.5",
    "STALL_SECONDS": "120",
    "HEARTBEAT_SECONDS": "60",
}
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis) -> Iterator[Stack]:
    redis_server.client.flushall()
    folder = tmp_path_factory.mktemp("abandoned")
    with running(Stack(folder, redis_server.url, f"sqlite:///{folder / 'chatrelay.db'}", **SETTINGS), webs=2) as started:
        yield started


def body(path: str, model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, **({"messages": MESSAGES} if path == CHAT else {"input": "Hello"}), **more}


def jobs(client: Client) -> list[str]:
    return [job["id"] for job in client.http.get("/jobs").json()["data"]]


def new_job(client: Client, known: list[str]) -> str:
    return next(job_id for job_id in jobs(client) if job_id not in known)


def ask_and_leave(client: Client, path: str, model: str, *, stream: bool, seconds: float = 1.0) -> str:
    """Ask, hang up after a while, and return the job's id."""
    known = jobs(client)
    with httpx2.Client(base_url=client.http.base_url, headers=client.http.headers, timeout=seconds) as leaving:
        try:
            with leaving.stream("POST", path, json=body(path, model, stream=stream)) as answer:
                until = time.monotonic() + seconds
                for _ in answer.iter_bytes():
                    if time.monotonic() > until:
                        break
        except httpx2.ReadTimeout:
            pass
    return new_job(client, known)


def is_over(client: Client, job_id: str) -> bool:
    return client.job(job_id)["status"] not in {"queued", "in_progress"}


@pytest.mark.parametrize("model", [LONG, SILENT], ids=["tokens", "silent"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_who_hangs_up_stops_the_model(client: Client, stack: Stack, path: str, model: str, *, stream: bool) -> None:
    job_id = ask_and_leave(client, path, model, stream=stream)
    left_at = time.monotonic()
    assert not is_over(client, job_id)

    wait_until(lambda: is_over(client, job_id), "the abandoned answer's end", seconds=4 * ABANDONED_SECONDS)

    assert client.job(job_id)["status"] == "cancelled"
    assert time.monotonic() - left_at > 0.5 * ABANDONED_SECONDS
    wait_until(lambda: stack.stats()["open_streams"] == 0, "the model to be free")


def test_an_answer_that_is_read_is_not_abandoned(client: Client) -> None:
    model = f"demo?tokens=2&gap_ms={3000 * ABANDONED_SECONDS}"
    answer = client.http.post(CHAT, json=body(CHAT, model), timeout=60)
    assert answer.status_code == 200, answer.text
    with client.http.stream("POST", CHAT, json=body(CHAT, model, stream=True), timeout=60) as streamed:
        assert b"[DONE]" in streamed.read()


def test_who_comes_back_in_time_goes_on(client: Client, stack: Stack) -> None:
    model = f"demo?tokens={300 * ABANDONED_SECONDS}&gap_ms=10"
    job_id = ask_and_leave(client, CHAT, model, stream=True, seconds=0.5)
    other = httpx2.Client(base_url=stack.urls[1], headers=client.http.headers, timeout=60)
    answer = other.get(f"{CHAT}/{job_id.replace('job_', 'chatcmpl-')}/stream?starting_after=5")
    other.close()

    assert answer.text.endswith("data: [DONE]\n\n")
    assert client.job(job_id)["status"] == "completed"


def test_a_reader_at_another_process_or_another_api_is_one(client: Client, stack: Stack) -> None:
    model = f"demo?tokens={300 * ABANDONED_SECONDS}&gap_ms=10"
    job_id = ask_and_leave(client, CHAT, model, stream=True, seconds=0.5)
    with httpx2.stream("GET", f"{stack.urls[1]}/jobs/{job_id}/events", headers=client.http.headers, timeout=60) as answer:
        assert b"event: completed" in answer.read()


def test_the_background_and_jobs_need_no_reader(client: Client, redis_server: Redis) -> None:
    model = f"demo?tokens={300 * ABANDONED_SECONDS}&gap_ms=10"
    response = client.http.post(RESPONSES, json=body(RESPONSES, model, background=True)).json()
    job = client.submit(model=model)

    assert client.finished(job["id"])["status"] == "completed"
    assert client.finished(response["id"].replace("resp_", "job_"))["status"] == "completed"
    wait_until(lambda: not redis_server.client.exists(keyspace.READERS_KEY), "all that was noted to be forgotten")


def test_readers_that_a_killed_process_had_are_gone(client: Client, stack: Stack) -> None:
    known = jobs(client)
    with (
        httpx2.Client(base_url=stack.urls[1], headers=client.http.headers, timeout=60) as reading,
        reading.stream("POST", CHAT, json=body(CHAT, LONG, stream=True)) as answer,
    ):
        bytes_read = answer.iter_bytes()
        until = time.monotonic() + ABANDONED_SECONDS / 2
        while time.monotonic() < until:
            next(bytes_read)
        stack.webs[1].kill()
        with pytest.raises(httpx2.HTTPError):
            list(bytes_read)
    job_id = new_job(client, known)

    wait_until(lambda: is_over(client, job_id), "the abandoned answer's end", seconds=4 * ABANDONED_SECONDS)
    assert client.job(job_id)["status"] == "cancelled"


def test_an_absence_of_redis_abandons_nobody(client: Client, stack: Stack, redis_server: Redis) -> None:
    model = f"demo?tokens={600 * ABANDONED_SECONDS}&gap_ms=10"
    with client.http.stream("POST", RESPONSES, json=body(RESPONSES, model, stream=True), timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        time.sleep(ABANDONED_SECONDS / 2)
        redis_server.process.signal(signal.SIGSTOP)
        time.sleep(1.5 * ABANDONED_SECONDS)
        redis_server.process.signal(signal.SIGCONT)
        assert any("response.completed" in line for line in lines)
