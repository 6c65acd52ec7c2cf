"""How jobs end: by the owner of the lease, by others when there is none, and what becomes of the log."""

import sys
from collections.abc import Sequence
from typing import Any

import pytest
import redis
from sqlalchemy.orm import Session

from shared import events
from shared.database import now_ms
from shared.events import Event
from shared.jobs import ending, held_ending, lifecycle
from shared.jobs.ending import Ending
from shared.jobs.lifecycle import LeaseState
from shared.log import epoch, stream
from shared.log.stream import Write, WriteVerdict
from shared.models import Job, Message, Status
from shared.models.error_codes import JobErrorCode
from shared.redis import keyspace, redis_clients
from tests.integration.entries import EXPIRY_MS, Listener, begun, completed, delta, logged, restarted, started, write
from tests.integration.jobs import LEASE_MS, Jobs

COMPLETED = Ending(Status.COMPLETED, "stop", usage={"total_tokens": 3, "estimated": False}, first_token_ms=77)
IN_ONE_STATEMENT = True
PROMPT = [{"role": "user", "content": "12345678"}]


def end_held(jobs: Jobs, job: Job, log: Sequence[Event], how: Ending = COMPLETED, attempt: int | None = None) -> Event | None:
    if IN_ONE_STATEMENT:
        ended = held_ending.end(jobs.database, job, attempt or job.attempt, log, how, PROMPT)
        return ended and ended.terminal
    with jobs.database.write() as session:
        return ending.end_held(session, job.id, attempt or job.attempt, log, how, PROMPT)


@pytest.fixture(autouse=True, params=[True, False], ids=["in one statement", "behind the lock"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder ends its job in one of two ways, which differ in nothing that can be seen."""
    monkeypatch.setattr(sys.modules[__name__], "IN_ONE_STATEMENT", request.param)


def archive(jobs: Jobs, job_id: str) -> list[Event]:
    with jobs.database.read() as session:
        return ending.archived(session, job_id)


def message(jobs: Jobs, job_id: str) -> Message | None:
    with jobs.database.read() as session:
        return session.get(Message, jobs.row(job_id).answer_id)


def test_a_holder_ends_its_job(jobs: Jobs) -> None:
    job = jobs.claimed()
    terminal = end_held(jobs, job, begun(3))
    row = jobs.row(job.id)

    assert terminal == events.make(1, 4, "completed", {"finish_reason": "stop", "usage": COMPLETED.usage})
    assert (row.status, row.finish_reason, row.usage, row.error) == (Status.COMPLETED, "stop", COMPLETED.usage, None)
    assert (row.attempt, row.owner, row.lease_until_ms, row.first_token_ms) == (1, None, None, 77)
    assert (row.last_seq, row.log_seq, row.log_closed) == (4, 4, False)
    assert row.message == {"role": "assistant", "content": "2 3 "}
    assert row.finished_ms is not None
    assert row.finished_ms >= row.created_ms
    assert archive(jobs, job.id) == [*begun(3), terminal]


def test_the_answer_becomes_the_conversations_next_message(jobs: Jobs) -> None:
    conversation = jobs.conversation()
    job = jobs.claimed(conversation=conversation)
    end_held(jobs, job, begun(3))
    answer = message(jobs, job.id)

    assert answer is not None
    assert (answer.role, answer.body, answer.parent_id) == ("assistant", {"content": "2 3 "}, job.user_message_id)
    assert answer.conversation_id == conversation


@pytest.mark.parametrize(
    ("how", "kind", "fields"),
    [
        (Ending(Status.INCOMPLETE, "length", usage={"total_tokens": 1}), "incomplete", {"finish_reason": "length"}),
        (
            Ending(Status.FAILED, error={"code": "x", "message": "y"}, usage={"total_tokens": 1}),
            "failed",
            {"error": {"code": "x", "message": "y"}},
        ),
        (Ending(Status.CANCELLED, usage={"total_tokens": 1}), "cancelled", {}),
    ],
)
def test_each_end_has_its_event(sqlite_jobs: Jobs, how: Ending, kind: str, fields: dict[str, Any]) -> None:
    job = sqlite_jobs.claimed()

    assert end_held(sqlite_jobs, job, begun(1), how) == events.make(1, 2, kind, {**fields, "usage": {"total_tokens": 1}})
    assert (sqlite_jobs.row(job.id).status, sqlite_jobs.row(job.id).error) == (how.status, how.error)


def test_usage_that_nobody_told_is_estimated(sqlite_jobs: Jobs) -> None:
    job = sqlite_jobs.claimed()
    end_held(sqlite_jobs, job, begun(3), Ending(Status.COMPLETED, "stop"))

    usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3, "estimated": True}
    assert sqlite_jobs.row(job.id).usage == usage


def test_a_cancel_that_came_before_wins(jobs: Jobs) -> None:
    job = jobs.claimed()
    jobs.set(job.id, cancel_requested_ms=now_ms())
    terminal = end_held(jobs, job, begun(2))
    row = jobs.row(job.id)

    assert terminal is not None
    assert terminal.type == "cancelled"
    assert (row.status, row.finish_reason, row.usage) == (Status.CANCELLED, None, COMPLETED.usage)
    assert row.message == {"role": "assistant", "content": "2 "}


def test_a_holder_of_an_earlier_attempt_ends_nothing(jobs: Jobs) -> None:
    job = jobs.claimed()
    jobs.lapse(job.id)
    jobs.claim("worker_2")

    assert end_held(jobs, job, begun(3)) is None
    assert (jobs.row(job.id).status, jobs.row(job.id).archive) == (Status.IN_PROGRESS, None)


def test_what_is_over_is_not_ended_again(jobs: Jobs) -> None:
    job = jobs.claimed(conversation=jobs.conversation())
    end_held(jobs, job, begun(3))

    assert end_held(jobs, job, begun(2), ending.CANCELLED) is None
    assert jobs.row(job.id).status is Status.COMPLETED


@pytest.mark.parametrize(
    ("how", "shown", "failed_turn"),
    [
        (ending.failed(JobErrorCode.DRAINED, "No."), 1, 2),
        (ending.failed(JobErrorCode.DRAINED, "No."), 3, None),  # what it said before it failed is an answer
        (ending.CANCELLED, 1, None),
    ],
)
def test_an_empty_answer_tells_that_its_turn_failed(jobs: Jobs, how: Ending, shown: int, failed_turn: int | None) -> None:
    job = jobs.claimed(conversation=jobs.conversation(), request={"turn_messages": 2})
    end_held(jobs, job, begun(shown), how)

    answer = message(jobs, job.id)
    assert answer is not None
    assert answer.failed_turn == failed_turn


def test_an_answer_with_a_nul_is_kept(jobs: Jobs) -> None:
    """PostgreSQL cannot hold this one character; the log, which is bytes, can."""
    job = jobs.claimed(conversation=jobs.conversation())
    log = [started(), delta(1, 2, "a\x00b \\u0000 \\\x00")]
    terminal = end_held(jobs, job, log, Ending(Status.FAILED, error={"code": "x", "message": "no\x00"}))
    row = jobs.row(job.id)

    assert terminal is not None
    assert row.message == {"role": "assistant", "content": "a\ufffdb \\u0000 \\\ufffd"}
    assert row.error == {"code": "x", "message": "no\ufffd"}
    assert archive(jobs, job.id) == [*log, terminal]


def end_unheld(jobs: Jobs, redis_client: redis.Redis, job: Job, how: Ending = ending.CANCELLED) -> bool:
    return ending.end_unheld(jobs.database, redis_client, job, how, EXPIRY_MS)


def test_a_queued_job_ends_with_one_event(jobs: Jobs, redis_client: redis.Redis) -> None:
    job = jobs.row(jobs.queue(conversation=jobs.conversation()))
    listener = Listener(redis_client, job.id)

    assert end_unheld(jobs, redis_client, job)
    terminal = archive(jobs, job.id)
    row = jobs.row(job.id)
    assert [(event.id, event.type) for event in terminal] == [("1-1", "cancelled")]
    assert (row.status, row.attempt, row.last_seq, row.log_closed) == (Status.CANCELLED, 1, 1, True)
    assert logged(redis_client, job.id) == terminal
    assert [events.unpack(message) for message in listener.received()] == [terminal]
    assert 0 < int(redis_client.pttl(keyspace.log_key(job.id))) <= EXPIRY_MS
    listener.close()


def orphaned(jobs: Jobs, redis_client: redis.Redis, *, last: int = 3, log_seq: int = 2, log_epoch: str | None = None) -> Job:
    """A job whose worker is dead, and what it wrote."""
    job = jobs.claimed(conversation=jobs.conversation())
    if last:
        write(redis_client, begun(last), job_id=job.id)
    jobs.set(job.id, log_seq=log_seq, log_epoch=log_epoch or epoch.current(redis_client), lease_until_ms=now_ms() - 1)
    return jobs.row(job.id)


def test_an_orphaned_job_ends_with_what_was_shown(jobs: Jobs, redis_client: redis.Redis) -> None:
    job = orphaned(jobs, redis_client)

    assert end_unheld(jobs, redis_client, job)
    row = jobs.row(job.id)
    assert (row.status, row.attempt, row.message) == (Status.CANCELLED, 2, {"role": "assistant", "content": "2 3 "})
    assert archive(jobs, job.id) == logged(redis_client, job.id)
    assert [event.id for event in logged(redis_client, job.id)] == ["1-1", "1-2", "1-3", "2-4"]
    assert message(jobs, job.id) is not None


@pytest.mark.parametrize("lost", ["emptied", "rolled back", "restarted"])
def test_an_orphaned_job_whose_log_is_lost_jumps_and_ends(jobs: Jobs, redis_client: redis.Redis, lost: str) -> None:
    last, log_seq, log_epoch = {"emptied": (0, 2, None), "rolled back": (3, 5, None), "restarted": (3, 2, "another")}[lost]
    job = orphaned(jobs, redis_client, last=last, log_seq=log_seq, log_epoch=log_epoch)

    assert end_unheld(jobs, redis_client, job)
    jump, terminal = archive(jobs, job.id)[-2:]
    assert (jump.seq, jump.is_legal_jump) == (log_seq + events.LOG_LOST_JUMP, True)
    assert (terminal.seq, terminal.type) == (jump.seq + 1, "cancelled")
    assert logged(redis_client, job.id) == archive(jobs, job.id)
    assert jobs.row(job.id).message == {"role": "assistant", "content": None}


def test_a_job_whose_holder_has_come_back_is_left_alone(jobs: Jobs, redis_client: redis.Redis) -> None:
    job = orphaned(jobs, redis_client)
    with jobs.database.write() as session:
        lifecycle.renew(session, [LeaseState(job.id, 1, 3)], lease_ms=LEASE_MS, epoch=None)

    assert not end_unheld(jobs, redis_client, job)
    assert jobs.row(job.id).status is Status.IN_PROGRESS
    assert logged(redis_client, job.id) == begun(3)


def test_a_job_whose_holder_came_back_and_is_lost_again_is_looked_at_again(jobs: Jobs, redis_client: redis.Redis) -> None:
    job = orphaned(jobs, redis_client)
    write(redis_client, [delta(1, 4)], "1-3", job_id=job.id)
    jobs.set(job.id, lease_until_ms=now_ms() - 1000)

    assert not end_unheld(jobs, redis_client, job)
    assert end_unheld(jobs, redis_client, jobs.row(job.id))
    assert [event.seq for event in archive(jobs, job.id)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", ["held", "taken over", "claimed", "over"])
def test_a_job_that_is_not_as_it_was_seen_is_left_alone(jobs: Jobs, redis_client: redis.Redis, change: str) -> None:
    seen = jobs.row(jobs.queue()) if change == "claimed" else jobs.claimed()
    if change in ("taken over", "over"):
        jobs.lapse(seen.id)
        seen = jobs.row(seen.id)
    if change == "over":
        jobs.set(seen.id, status=Status.COMPLETED)
    if change in ("taken over", "claimed"):
        jobs.claim("worker_2")
    before = jobs.row(seen.id)

    assert not end_unheld(jobs, redis_client, seen)
    after = jobs.row(seen.id)
    assert (after.status, after.attempt, after.archive) == (before.status, before.attempt, None)


def test_while_redis_is_away_nothing_is_ended(jobs: Jobs) -> None:
    job = jobs.claimed()
    jobs.lapse(job.id)

    with pytest.raises(redis.ConnectionError), redis_clients.blocking("redis://127.0.0.1:1") as away:
        end_unheld(jobs, away, jobs.row(job.id))
    assert jobs.row(job.id).status is Status.IN_PROGRESS


def over(jobs: Jobs) -> tuple[str, list[Event]]:
    """A job that is over in the database."""
    job = jobs.claimed()
    end_held(jobs, job, [*begun(3), restarted(1, 4), delta(1, 5)])
    return job.id, archive(jobs, job.id)


@pytest.mark.parametrize("there", [0, 1, 3, 5, 6])
def test_a_log_is_closed_from_the_row_whatever_redis_has(sqlite_jobs: Jobs, redis_client: redis.Redis, there: int) -> None:
    job_id, log = over(sqlite_jobs)
    write(redis_client, log[:there], job_id=job_id)
    listener = Listener(redis_client, job_id)

    assert ending.close_log(sqlite_jobs.database, redis_client, job_id, EXPIRY_MS)
    assert logged(redis_client, job_id) == log
    assert sqlite_jobs.row(job_id).log_closed
    assert listener.received() == {5: [events.pack(log[5:])], 6: []}.get(there, [b""])
    listener.close()


def test_a_log_with_a_foreign_tail_is_closed_from_the_row(sqlite_jobs: Jobs, redis_client: redis.Redis) -> None:
    job_id, log = over(sqlite_jobs)
    write(redis_client, begun(50), job_id=job_id)
    ending.close_log(sqlite_jobs.database, redis_client, job_id, EXPIRY_MS)

    assert logged(redis_client, job_id) == log


def test_a_closed_log_may_be_closed_again(sqlite_jobs: Jobs, redis_client: redis.Redis) -> None:
    job_id, log = over(sqlite_jobs)
    for _ in range(2):
        assert ending.close_log(sqlite_jobs.database, redis_client, job_id, EXPIRY_MS)

    assert logged(redis_client, job_id) == log


def test_a_job_without_an_archive_has_nothing_to_close(sqlite_jobs: Jobs, redis_client: redis.Redis) -> None:
    job_id = sqlite_jobs.queue(status=Status.FAILED)

    assert not ending.close_log(sqlite_jobs.database, redis_client, job_id, EXPIRY_MS)
    assert archive(sqlite_jobs, job_id) == archive(sqlite_jobs, "job_of_nobody") == []
    assert sqlite_jobs.row(job_id).log_closed


def test_a_long_log_is_kept_whole(jobs: Jobs, redis_client: redis.Redis) -> None:
    job = jobs.claimed()
    end_held(jobs, job, begun(20_000))

    assert len(archive(jobs, job.id)) == 20_001
    ending.close_log(jobs.database, redis_client, job.id, EXPIRY_MS)
    assert logged(redis_client, job.id)[-1] == archive(jobs, job.id)[-1] == completed_like(jobs, job.id)


def completed_like(jobs: Jobs, job_id: str) -> Event:
    return completed(1, 20_001)._replace(data=archive(jobs, job_id)[-1].data)


@pytest.mark.parametrize("rewrite", [False, True])
@pytest.mark.parametrize("shown", [0, 3])
def test_an_owner_that_still_writes_when_the_clock_has_stepped_writes_nothing(
    jobs: Jobs, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, shown: int, *, rewrite: bool
) -> None:
    """The database's clock has ended a lease that its owner still holds by its own clock."""
    job = orphaned(jobs, redis_client, last=shown, log_seq=0)
    late = [delta(1, 4, "4 ")] if shown else [started()]
    verdicts = []

    def locked(session: Session, found: Job) -> Job | None:
        entries = [*begun(3), *late] if rewrite and shown else late
        write_again = Write(job.id, 1, "1-3" if shown and not rewrite else "0-0", entries, EXPIRY_MS, rewrite=rewrite)
        verdicts.append(stream.written(redis_client.execute_command(*write_again.command())).verdict)
        return lock_unheld(session, found)

    lock_unheld = lifecycle.lock_unheld
    monkeypatch.setattr(lifecycle, "lock_unheld", locked)
    assert end_unheld(jobs, redis_client, job)
    assert verdicts == [WriteVerdict.FENCED]
    assert logged(redis_client, job.id) == archive(jobs, job.id)
    assert logged(redis_client, job.id)[-1].type == "cancelled"


def test_an_owner_that_renews_while_the_log_is_fenced_keeps_its_job(jobs: Jobs, redis_client: redis.Redis) -> None:
    job = orphaned(jobs, redis_client)
    jobs.set(job.id, lease_until_ms=now_ms() + LEASE_MS)

    assert not end_unheld(jobs, redis_client, job)
    assert jobs.row(job.id).status is Status.IN_PROGRESS
    jobs.lapse(job.id)
    again = jobs.claim("worker_2")
    assert again is not None
    write(redis_client, [restarted(2, 4)], job_id=job.id, previous="1-3", attempt=2)
    assert [event.id for event in logged(redis_client, job.id)][-1] == "2-4"
