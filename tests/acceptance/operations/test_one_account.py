"""One service account at its limit, on PostgreSQL: whatever its submissions lock, no worker loses a job for it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from dev.testing.client import Client
from dev.testing.stack import Stack

PER_SECOND = 10
"""As SUBMIT_LIMIT has it: 600 a minute."""
SECONDS = 15
THREADS = 20


def submit_all(client: Client, count: int, per_second: float) -> list[tuple[int, str]]:
    """Submit so many jobs at an even rate; return each answer's status, and the job's id."""
    begun, lock, numbers = time.monotonic(), threading.Lock(), iter(range(count))
    answers: list[tuple[int, str]] = []

    def submit() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            time.sleep(max(0.0, begun + number / per_second - time.monotonic()))
            answer = client.http.post("/jobs", json={"message": "x", "model": "demo?tokens=20&gap_ms=20"})
            answers.append((answer.status_code, answer.json().get("id", "")))

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in range(THREADS):
            threads.submit(submit)
    return answers


def test_at_the_limit_every_job_is_accepted_and_done_once(client: Client, stack: Stack) -> None:
    answers = submit_all(client, PER_SECOND * SECONDS, PER_SECOND)
    assert {status for status, _ in answers} == {202}
    ended = [client.finished(job_id) for _, job_id in answers]
    assert {(job["status"], job["attempt"]) for job in ended} == {("completed", 1)}
    assert "worker_lost" not in "".join(worker.log() for worker in stack.workers)


def test_ten_times_the_limit_is_refused_and_nothing_else(client: Client, stack: Stack) -> None:
    answers = submit_all(client, 10 * PER_SECOND * SECONDS, 10 * PER_SECOND)
    accepted = [job_id for status, job_id in answers if status == 202]
    assert {status for status, _ in answers} == {202, 429}
    assert len(accepted) == 60 * PER_SECOND
    assert {client.finished(job_id)["status"] for job_id in accepted} == {"completed"}
    assert "worker_lost" not in "".join(worker.log() for worker in stack.workers)
