"""One job in one worker, from its claim to its end, with everything that may happen in between."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from dev.testing.stack import Redis, wait_until
from shared import events
from shared.config import Settings
from shared.database import now_ms
from shared.events import Event
from shared.jobs import ending, lifecycle
from shared.log import epoch
from shared.models import Job, OnInterrupt, Status, User
from shared.redis import keyspace
from tests.integration.entries import begun, delta, logged, write
from tests.integration.jobs import MINUTE_MS, Jobs
from tests.integration.recorded_queue import RecordedQueue
from tests.integration.working import WorkerParts, working
from workers.lease.lease import Lease, Stop
from workers.log.flusher import Flusher
from workers.log.job_log import JobLog, LogMoved
from workers.providers.base import Chunk, ProviderError
from workers.run import attempt
from workers.run.attempt import AttemptRunner
from workers.sweep import Sweep

STOP = Chunk({}, "stop")
BUSY = ProviderError("Busy", code="busy", retryable=True, http_status=503)
JUMP = events.LOG_LOST_JUMP


@pytest.fixture
def jobs(sqlite_jobs: Jobs) -> Jobs:
    """The kind of database makes no difference here."""
    return sqlite_jobs


def broken(*_: object) -> None:
    raise ZeroDivisionError


def archive(jobs: Jobs, job_id: str) -> list[Event]:
    with jobs.database.read() as session:
        return ending.archived(session, job_id)


def shape(log: list[Event]) -> list[tuple[str, str]]:
    return [(event.id, event.type) for event in log]


def test_a_job_runs_to_its_end(jobs: Jobs, config: Settings, empty_redis: Redis) -> None:
    conversation = jobs.conversation()
    job_id, following = jobs.queue(conversation=conversation), jobs.queue(conversation=conversation)
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    with working(config, jobs.database, ["Hel", "lo", STOP, Chunk(usage=usage)]) as worker, worker.running():
        pass
    row = jobs.row(job_id)

    assert (row.status, row.finish_reason, row.attempt, row.log_closed) == (Status.COMPLETED, "stop", 1, True)
    assert row.message == {"role": "assistant", "content": "Hello"}
    assert row.usage == {**usage, "estimated": False}
    assert shape(archive(jobs, job_id)) == [("1-1", "started"), ("1-2", "delta"), ("1-3", "delta"), ("1-4", "completed")]
    assert logged(empty_redis.client, job_id) == archive(jobs, job_id)
    assert row.first_token_ms is not None
    assert [request.messages for request in worker.provider.requests] == [[{"role": "user", "content": "Hello"}]]
    assert worker.queue.rung == [following]
    assert worker.leases.all() == []


def test_without_a_job_there_is_nothing_to_do(jobs: Jobs, config: Settings) -> None:
    with working(config, jobs.database) as worker, worker.running():
        pass

    assert worker.provider.requests == []


def test_an_error_that_passes_begins_the_answer_anew(jobs: Jobs, config: Settings) -> None:
    job_id = jobs.queue()
    with working(config, jobs.database, ["no", BUSY], ["yes", STOP]) as worker, worker.running():
        pass
    row = jobs.row(job_id)

    assert (row.status, row.attempt, row.provider_errors) == (Status.COMPLETED, 2, 1)
    assert row.message == {"role": "assistant", "content": "yes"}
    assert shape(archive(jobs, job_id))[1:4] == [("1-2", "delta"), ("2-3", "restarted"), ("2-4", "delta")]


def test_an_attempt_that_the_database_has_not_counted_is_not_ours(
    jobs: Jobs, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another worker's, whose lease we would renew."""
    monkeypatch.setattr(lifecycle, "retry", lambda *_: False)
    job_id, go_on = jobs.queue(), threading.Event()
    with working(config, jobs.database, [go_on, BUSY]) as worker, worker.running():
        worker.provider.has_begun.wait(5)
        lease = worker.leases.all()[0]
        go_on.set()

    assert (lease.attempt, lease.provider_errors) == (1, 0)
    assert (jobs.row(job_id).attempt, len(worker.provider.requests)) == (1, 1)


def test_a_long_wait_goes_back_to_the_queue(jobs: Jobs, config: Settings) -> None:
    job_id = jobs.queue()
    later = ProviderError("Busy", code="busy", retryable=True, retry_after_seconds=30.0)
    with working(config, jobs.database, [later]) as worker, worker.running():
        pass
    row = jobs.row(job_id)

    assert (row.status, row.attempt, row.requeued_for, row.log_seq) == (Status.QUEUED, 2, "provider_error", 1)
    assert row.not_before_ms is not None
    assert worker.queue.rung == []


def test_a_cancel_hangs_up_and_keeps_the_text(jobs: Jobs, config: Settings) -> None:
    job_id = jobs.queue()
    with working(config, jobs.database, ["so far", None]) as worker, worker.running():
        worker.provider.has_begun.wait(5)
        with jobs.database.write() as session:
            lifecycle.request_cancel(session, job_id)
    row = jobs.row(job_id)

    assert (row.status, row.message) == (Status.CANCELLED, {"role": "assistant", "content": "so far"})
    assert worker.provider.closed == 1
    assert archive(jobs, job_id)[-1].type == "cancelled"


def test_a_cancel_that_was_faster_than_the_claim(jobs: Jobs, config: Settings) -> None:
    job_id = jobs.queue()
    with working(config, jobs.database, [None]) as worker:
        worker.leases.cancel(job_id)
        with worker.running():
            pass

    assert jobs.row(job_id).status is Status.CANCELLED
    assert worker.provider.requests == []


def test_a_job_that_is_lost_is_let_go(jobs: Jobs, config: Settings, empty_redis: Redis) -> None:
    job_id = jobs.queue()
    with working(config, jobs.database, ["mine", None]) as worker, worker.running():
        worker.provider.has_begun.wait(5)
        wait_until(lambda: (log := worker.leases.all()[0].log) is not None and log.last_seq >= 2, "the text to be written")
        jobs.set(job_id, attempt=2, owner="worker_2")

    assert (jobs.row(job_id).status, jobs.row(job_id).attempt) == (Status.IN_PROGRESS, 2)
    assert shape(logged(empty_redis.client, job_id)) == [("1-1", "started"), ("1-2", "delta")]
    assert worker.provider.closed == 1


def test_a_worker_that_stops_gives_back(jobs: Jobs, config: Settings, empty_redis: Redis) -> None:
    job_id = jobs.queue()
    with working(config, jobs.database, ["so far", None], ["anew", STOP]) as worker:
        with capture_logs() as lines, worker.running():
            worker.provider.has_begun.wait(5)
            worker.leases.all()[0].stop(Stop.DRAINED)
        assert [(line["reason"], line["wait_seconds"]) for line in lines if line["event"] == "job.given_back"] == [("drained", 0)]
        row = jobs.row(job_id)
        assert (row.status, row.attempt, row.requeued_for, row.log_seq) == (Status.QUEUED, 2, "drained", 2)
        assert worker.queue.rung == [job_id]
        with worker.running():
            pass

    log = archive(jobs, job_id)
    assert shape(log)[2:4] == [("3-3", "restarted"), ("3-4", "delta")]
    assert log[2].fields()["reason"] == "drained"


@pytest.mark.parametrize("script", [[None], ["so far", None]])
def test_a_deadline_ends_a_job(jobs: Jobs, config: Settings, script: list[Any]) -> None:
    job_id = jobs.queue(deadline_ms=now_ms() + 3000)
    with working(config, jobs.database, script) as worker, worker.running():
        pass
    row = jobs.row(job_id)

    assert (row.status, row.error) == (
        Status.FAILED,
        {"code": "deadline_exceeded", "message": "The job was not over by its deadline."},
    )
    assert len(archive(jobs, job_id)) == 1 + len(script)


def test_the_log_of_a_job_that_is_deleted_as_it_ends_does_not_come_back(
    jobs: Jobs, config: Settings, empty_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, close = jobs.queue(), AttemptRunner.close

    async def overtaken(attempts: AttemptRunner, lease: Lease, terminal: Event) -> bool:
        with jobs.database.write() as session:
            session.delete(session.get_one(Job, job_id))
        empty_redis.client.delete(keyspace.log_key(job_id))
        return await close(attempts, lease, terminal)

    monkeypatch.setattr(AttemptRunner, "close", overtaken)
    with working(config, jobs.database, ["a", STOP]) as worker, worker.running():
        pass

    assert worker.leases.all() == []
    assert not empty_redis.client.exists(keyspace.log_key(job_id))


def test_silence_behind_a_whole_answer_is_no_stall(jobs: Jobs, config: Settings) -> None:
    job_id = jobs.queue()
    with working(config.model_copy(update={"stall_seconds": 0.3}), jobs.database, ["a", STOP, None]) as worker, worker.running():
        pass

    row = jobs.row(job_id)
    assert (row.status, row.attempt, (row.usage or {})["estimated"]) == (Status.COMPLETED, 1, True)


def test_what_keeps_us_from_writing_is_no_silence_of_the_provider(
    jobs: Jobs, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "MAX_AHEAD_EVENTS", 2)  # so that renewals, which come slowly, are waited for
    slow = config.model_copy(update={"stall_seconds": 0.2, "renew_seconds": 0.6})
    job_id = jobs.queue()
    with working(slow, jobs.database, ["a", "b", "c", "d", STOP]) as worker, worker.running():
        pass

    row = jobs.row(job_id)
    assert (row.status, row.attempt, row.message) == (Status.COMPLETED, 1, {"role": "assistant", "content": "abcd"})


def test_an_answer_that_grows_too_long_is_cut(jobs: Jobs, config: Settings) -> None:
    job_id = jobs.queue()
    with working(config.model_copy(update={"max_log_bytes": 300}), jobs.database, ["x" * 50] * 100) as worker, worker.running():
        pass
    row = jobs.row(job_id)

    assert (row.status, row.finish_reason) == (Status.INCOMPLETE, "length")
    assert worker.provider.closed == 1


def test_a_wipe_while_the_model_answers_is_not_noticed(jobs: Jobs, config: Settings, empty_redis: Redis) -> None:
    job_id = jobs.queue()
    with working(config, jobs.database, ["a", 0.5, "b", STOP]) as worker, worker.running():
        worker.provider.has_begun.wait(5)
        empty_redis.client.flushall()

    assert shape(logged(empty_redis.client, job_id)) == [
        ("1-1", "started"),
        ("1-2", "delta"),
        ("1-3", "delta"),
        ("1-4", "completed"),
    ]


def test_a_job_that_breaks_us_ends(jobs: Jobs, config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.prompt.messages.prompt", broken)
    job_id = jobs.queue()
    with working(config, jobs.database) as worker, worker.running():
        pass

    assert (jobs.row(job_id).status, (jobs.row(job_id).error or {})["code"]) == (Status.FAILED, "internal_error")


def orphaned(jobs: Jobs, client: redis.Redis, *, shown: int = 5, known: int = 0, **columns: Any) -> Job:
    """A job whose worker died after it had shown so much, of which the row knows less."""
    job = jobs.claimed(**columns)
    write(client, begun(shown), job_id=job.id)
    jobs.set(job.id, log_seq=known, log_epoch=epoch.current(client))
    jobs.lapse(job.id)
    return job


def test_a_job_whose_worker_is_lost_begins_anew(jobs: Jobs, config: Settings, empty_redis: Redis) -> None:
    job = orphaned(jobs, empty_redis.client)
    with working(config, jobs.database) as worker, worker.running():
        pass

    assert shape(archive(jobs, job.id))[5:] == [("2-6", "restarted"), ("2-7", "delta"), ("2-8", "completed")]
    assert archive(jobs, job.id)[5].fields()["reason"] == "worker_lost"


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_job_of_an_unreadable_key_ends_at_once(jobs: Jobs, config: Settings, empty_redis: Redis, taken_over: bool) -> None:
    job = orphaned(jobs, empty_redis.client) if taken_over else jobs.row(jobs.queue())
    with jobs.database.write() as session:
        session.get_one(User, job.user_id).provider_key = "sealed under another key"
    with working(config, jobs.database) as worker, worker.running():
        pass
    row = jobs.row(job.id)

    assert (row.status, (row.error or {})["code"], row.attempt) == (Status.FAILED, "provider_key_unreadable", 1 + taken_over)
    assert [event.type for event in archive(jobs, job.id)][-2:] == ["restarted" if taken_over else "started", "failed"]
    assert worker.provider.requests == []


def test_a_log_that_grows_behind_the_look_is_read_again(
    jobs: Jobs, config: Settings, empty_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, read_epoch = orphaned(jobs, empty_redis.client), Flusher.read_epoch

    async def read_late(flusher: Flusher) -> str:
        if len(logged(empty_redis.client, job.id)) == 5:
            write(empty_redis.client, [delta(1, 6)], "1-5", job_id=job.id)
        return await read_epoch(flusher)

    with working(config, jobs.database) as worker:
        wait_until(lambda: worker.flusher.seen_epoch, "the first look at Redis", 5)
        monkeypatch.setattr(Flusher, "read_epoch", read_late)
        with worker.running():
            pass

    assert shape(archive(jobs, job.id))[4:] == [
        ("1-5", "delta"),
        ("1-6", "delta"),
        ("2-7", "restarted"),
        ("2-8", "delta"),
        ("2-9", "completed"),
    ]


def test_a_job_whose_worker_and_log_are_lost_jumps(jobs: Jobs, config: Settings, empty_redis: Redis) -> None:
    job = orphaned(jobs, empty_redis.client, known=4)
    empty_redis.client.flushall()
    with working(config, jobs.database) as worker, worker.running():
        pass

    assert [event.seq for event in archive(jobs, job.id)] == [JUMP + 4, JUMP + 5, JUMP + 6]
    assert archive(jobs, job.id)[0].is_legal_jump


def test_a_job_that_must_not_be_restarted_fails_when_its_worker_is_lost(jobs: Jobs, config: Settings, empty_redis: Redis) -> None:
    job = orphaned(jobs, empty_redis.client, on_interrupt=OnInterrupt.FAIL)
    with working(config, jobs.database) as worker, worker.running():
        pass

    assert shape(archive(jobs, job.id)) == [*shape(begun(5)), ("2-6", "failed")]
    assert jobs.row(job.id).message == {"role": "assistant", "content": "2 3 4 5 "}
    assert worker.provider.requests == []


def beyond_what_was_shown(jobs: Jobs, job: Job) -> bool:
    """Whether readers who have seen five events will see the end: nothing after a lost log may take a number that was shown."""
    return archive(jobs, job.id)[-1].seq > JUMP


def test_a_job_that_must_not_be_restarted_and_whose_log_is_lost_jumps(jobs: Jobs, config: Settings, empty_redis: Redis) -> None:
    client = empty_redis.client
    job = orphaned(jobs, client, known=2, on_interrupt=OnInterrupt.FAIL)
    client.flushall()
    write(client, begun(3), job_id=job.id)  # rolled back
    with working(config, jobs.database) as worker, worker.running():
        pass

    assert jobs.row(job.id).status is Status.FAILED
    assert beyond_what_was_shown(jobs, job)


@pytest.fixture
def slow_to_read(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Redis does not answer in which epoch it is; the event says that it was epoch_read."""
    epoch_read = threading.Event()

    async def ask(_: object) -> str:
        epoch_read.set()
        raise redis.ConnectionError

    monkeypatch.setattr("workers.log.flusher.Flusher.read_epoch", ask)
    return epoch_read


def before_it_opens(
    jobs: Jobs, config: Settings, job: Job, epoch_read: threading.Event, then: Callable[[WorkerParts], None]
) -> None:
    """Do something to a job that was taken over, and could not read its log yet."""
    with working(config, jobs.database) as worker, worker.running():
        wait_until(worker.leases.all, "the take-over", 5)
        assert epoch_read.wait(5)
        then(worker)


def test_a_job_that_is_given_back_before_it_opens_stays_a_lost_one(
    jobs: Jobs, config: Settings, empty_redis: Redis, slow_to_read: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = orphaned(jobs, empty_redis.client)
    empty_redis.client.flushall()
    before_it_opens(jobs, config, job, slow_to_read, lambda worker: worker.leases.all()[0].stop(Stop.DRAINED))
    monkeypatch.undo()
    with working(config, jobs.database) as worker, worker.running():
        pass

    assert jobs.row(job.id).status is Status.COMPLETED
    assert beyond_what_was_shown(jobs, job)


def test_a_stop_that_is_swallowed_before_it_opens_stops_it_all_the_same(
    jobs: Jobs, config: Settings, empty_redis: Redis, slow_to_read: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = orphaned(jobs, empty_redis.client)
    monkeypatch.setattr(Lease, "_interrupt", lambda _: None)
    before_it_opens(jobs, config, job, slow_to_read, lambda worker: worker.leases.all()[0].stop(Stop.DRAINED))

    assert jobs.row(job.id).status is Status.QUEUED


def test_a_job_that_is_cancelled_before_it_opens_stays_a_lost_one(
    jobs: Jobs, config: Settings, empty_redis: Redis, slow_to_read: threading.Event
) -> None:
    job = orphaned(jobs, empty_redis.client)
    empty_redis.client.flushall()

    def cancelled(_: WorkerParts) -> None:
        with jobs.database.write() as session:
            lifecycle.request_cancel(session, job.id)

    before_it_opens(jobs, config, job, slow_to_read, cancelled)
    assert ending.end_unheld(jobs.database, empty_redis.client, jobs.row(job.id), ending.CANCELLED, MINUTE_MS)
    assert beyond_what_was_shown(jobs, job)


def test_a_deadline_before_it_opens_does_not_forget_what_was_shown(
    jobs: Jobs, config: Settings, empty_redis: Redis, slow_to_read: threading.Event
) -> None:
    job = orphaned(jobs, empty_redis.client, deadline_ms=now_ms() + 5000)
    before_it_opens(jobs, config, job, slow_to_read, lambda _: None)
    jobs.lapse(job.id)
    Sweep(config, jobs.database, empty_redis.client, RecordedQueue(config)).once()

    assert (jobs.row(job.id).error or {})["code"] == "deadline_exceeded"
    assert archive(jobs, job.id)[:-1] == begun(5)


def test_a_job_that_breaks_us_before_it_opens_is_left_to_lapse(
    jobs: Jobs, config: Settings, empty_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.prompt.messages.prompt", broken)
    job = orphaned(jobs, empty_redis.client)
    with working(config, jobs.database) as worker, worker.running():
        pass
    row = jobs.row(job.id)

    assert (row.status, row.attempt, row.lost_workers) == (Status.IN_PROGRESS, 2, 1)
    assert worker.leases.all() == []


def test_nothing_is_built_on_a_log_that_was_read_too_early(
    jobs: Jobs, config: Settings, empty_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt ends at the very moment at which it finds that there is more than it has read."""
    job = orphaned(jobs, empty_redis.client)

    async def moves_and_breaks(log: JobLog) -> None:
        monkeypatch.undo()
        log.fail(LogMoved())
        raise ZeroDivisionError

    monkeypatch.setattr(JobLog, "flushed", moves_and_breaks)
    with working(config, jobs.database) as worker, worker.running():
        pass

    assert (jobs.row(job.id).status, jobs.row(job.id).attempt) == (Status.IN_PROGRESS, 2)


def test_a_job_that_is_given_back_while_redis_is_away_is_as_good_as_lost(
    jobs: Jobs, config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written last may have been read, or not; only the Redis that took it knows."""
    monkeypatch.setattr("workers.run.attempt.ACKNOWLEDGE_SECONDS", 0.1)
    server, go_on = Redis(tmp_path), threading.Event()
    job_id = jobs.queue()
    with working(config.model_copy(update={"redis_url": server.url}), jobs.database, ["a", go_on, "b", None]) as worker:
        wait_until(lambda: worker.flusher.seen_epoch, "the first look at Redis", 5)
        with worker.running():
            worker.provider.has_begun.wait(5)
            wait_until(
                lambda: (log := worker.leases.all()[0].log) is not None and log.last_seq >= 2, "the first delta to be written", 5
            )
            known = epoch.current(server.client)
            server.process.kill()
            go_on.set()
            wait_until(lambda: (log := worker.leases.all()[0].log) is not None and log.pending, "the second delta", 5)
            worker.leases.all()[0].stop(Stop.DRAINED)
    row = jobs.row(job_id)
    server.close()

    assert (row.status, row.requeued_for, row.log_seq) == (Status.QUEUED, events.WORKER_LOST, 2)
    assert row.log_epoch == known
