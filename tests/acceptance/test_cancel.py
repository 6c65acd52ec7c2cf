"""Cancel is real, wherever the job is: also while no process could receive it."""

from collections.abc import Iterator

import pytest

from dev.testing.client import TERMINAL
from dev.testing.stack import wait_until
from tests.acceptance.chaos import Arena, arena

LONG = "demo?tokens=2000&gap_ms=20"


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("cancel")
    with arena(folder, f"sqlite:///{folder / 'chatrelay.db'}") as made:
        yield made


def cancel(hurt: Arena, job_id: str) -> dict[str, object]:
    response = hurt.client.http.post(f"/jobs/{job_id}/cancel")
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


def text_of(hurt: Arena, job_id: str) -> str:
    text: str = hurt.client.job(job_id)["text"]
    return text


def open_streams(hurt: Arena) -> int:
    return int(str(hurt.stack.stats()["open_streams"]))


def test_while_it_waits_in_its_conversation(hurt: Arena) -> None:
    # Given three turns, the first of which runs
    first = hurt.client.submit(model=LONG)
    turn = {"conversation_id": first["conversation_id"]}
    second, third = (hurt.client.submit(model="demo?tokens=5&gap_ms=5", **turn) for _ in range(2))

    # When the second is cancelled, it ends without having run; when the first is, the third runs
    assert cancel(hurt, second["id"])["status"] == "cancelled"
    assert hurt.client.events(second["id"]).seqs == [1]
    assert cancel(hurt, first["id"])["status"] == "cancelled"
    assert hurt.client.finished(third["id"])["status"] == "completed"


def test_in_mid_stream_text_and_usage_are_kept(hurt: Arena) -> None:
    job = hurt.client.submit(model=LONG)
    wait_until(lambda: len(text_of(hurt, job["id"])) > 20, "some text")
    answer = cancel(hurt, job["id"])
    assert answer["status"] == "cancelled"
    wait_until(lambda: open_streams(hurt) == 0, "the provider's socket to close", seconds=5)
    ended = hurt.client.job(job["id"])
    assert ended["text"].startswith("1 2 3 ")
    assert ended["usage"]["estimated"] is True
    assert ended["usage"]["completion_tokens"] > 0
    reading = hurt.client.events(job["id"])
    assert (reading.text, reading.last["type"]) == (ended["text"], "cancelled")
    reading.assert_dense()


def test_while_its_worker_is_dead(hurt: Arena) -> None:
    # Given a job whose worker, and every other, is killed
    job = hurt.client.submit(model=LONG)
    wait_until(lambda: len(text_of(hurt, job["id"])) > 20, "some text")
    for worker in hurt.stack.workers:
        worker.kill()

    # When it is cancelled again and again, then it ends as soon as its lease has lapsed, without any worker
    wait_until(lambda: cancel(hurt, job["id"])["status"] == "cancelled", "the lease to lapse", seconds=10)
    ended = hurt.client.job(job["id"])
    reading = hurt.client.events(job["id"])
    assert reading.text == ended["text"] != ""
    assert reading.last["type"] == "cancelled"
    reading.assert_dense()
    hurt.new_worker()


def test_a_cancel_whose_worker_died_is_carried_out_by_a_sweep(hurt: Arena) -> None:
    job = hurt.client.submit(model=LONG)
    wait_until(lambda: text_of(hurt, job["id"]), "the first token")
    for worker in hurt.stack.workers:
        worker.kill()
    cancel(hurt, job["id"])  # which ends it here and now if its lease has lapsed by then
    hurt.new_worker()
    assert hurt.client.finished(job["id"])["status"] == "cancelled"


def test_while_redis_is_away(hurt: Arena) -> None:
    # Given a running job, a queued one in its conversation, and a Redis that dies
    job = hurt.client.submit(model=LONG)
    queued = hurt.client.submit(model=LONG, conversation_id=job["conversation_id"])
    wait_until(lambda: text_of(hurt, job["id"]), "the first token")
    hurt.redis.process.kill()

    # When both are cancelled, then both end by the next renewal, and the provider is hung up on, before Redis is back
    cancel(hurt, job["id"])
    cancel(hurt, queued["id"])
    wait_until(lambda: open_streams(hurt) == 0, "the provider's socket to close", seconds=10)
    hurt.redis.start()
    for one in (job, queued):
        assert hurt.client.finished(one["id"])["status"] == "cancelled"
        reading = hurt.client.events(one["id"])
        assert reading.last["type"] == "cancelled"
        reading.assert_dense()


def test_twice_and_after_the_end_it_changes_nothing(hurt: Arena) -> None:
    job = hurt.client.submit(model="demo?tokens=5&gap_ms=5")
    ended = hurt.client.finished(job["id"])
    assert ended["status"] in TERMINAL
    assert cancel(hurt, job["id"]) == cancel(hurt, job["id"]) == hurt.client.job(job["id"]) == ended


def test_a_job_that_wants_no_restart_fails_when_its_worker_dies(hurt: Arena) -> None:
    # Given a job whose text may not be taken back, and a worker that is killed in mid-answer
    job = hurt.client.submit(model=LONG, on_interrupt="fail")
    wait_until(lambda: len(text_of(hurt, job["id"])) > 20, "some text")
    for worker in hurt.stack.workers:
        worker.kill()
    hurt.new_worker()

    # Then the job ends with what was shown, and is not asked again
    ended = hurt.client.finished(job["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_lost")
    reading = hurt.client.events(job["id"])
    assert reading.text == ended["text"] != ""
    assert [event["type"] for event in reading.events if event["type"] != "delta"] == ["started", "failed"]
    reading.assert_dense()
