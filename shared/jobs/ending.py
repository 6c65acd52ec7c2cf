"""How a job ends: one transaction that makes the row the whole truth, then the terminal event.

The transaction holds status, answer, usage and the compressed log; the terminal event's id is fixed in it. From then on Redis is
only a cache of the log, which is closed from the row where it falls short.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from redis import Redis
from sqlalchemy import update
from sqlalchemy.orm import Session, undefer

from shared import events
from shared.database import Database
from shared.events import Event
from shared.jobs import lifecycle
from shared.json_types import JsonObject
from shared.log import epoch, stream
from shared.log.opening import opening
from shared.log.stream import Write, WriteVerdict
from shared.messages import tree
from shared.messages.answer import assemble, needs_its_model
from shared.messages.text import text_of
from shared.messages.usage import estimated_usage
from shared.models import Conversation, Job, Message, Status, User
from shared.models.error_codes import JobErrorCode
from shared.webhooks import events as webhook_events

DETAILS = ("prompt_tokens_details", "completion_tokens_details")
"""What a row's usage has besides, where the provider sent it: how many of the tokens were cached, or spent on reasoning."""

EMPTY_FENCE_MS = 60_000
"""How long the fence of a log without entries stays: longer than an owner that has lost its lease may still try to write."""

_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class Ending:
    """How a job ended. `usage` is the provider's, or None where it sent none; `first_token_ms` by the database's clock.

    `origin` is where an agent's answer stands in its own conversation.
    """

    status: Status
    finish_reason: str | None = None
    error: JsonObject | None = None
    usage: JsonObject | None = None
    first_token_ms: int | None = None
    origin: JsonObject | None = None


CANCELLED = Ending(Status.CANCELLED)


def failed(code: JobErrorCode, message: str) -> Ending:
    """Return the ending of a job that failed for a reason of ours."""
    return refused({"code": code, "message": message})


def refused(error: JsonObject) -> Ending:
    """Return the ending of a job whose provider did not answer; `error` is its error, as the job has it."""
    return Ending(Status.FAILED, error=error)


def end_held(
    session: Session, job_id: str, attempt: int, log: Sequence[Event], ending: Ending, prompt: Sequence[JsonObject]
) -> Event | None:
    """End a job that the caller holds; a cancel that was requested before wins.

    Args:
        session: an open transaction.
        job_id: the job.
        attempt: the caller's attempt.
        log: every event so far.
        ending: how it ended.
        prompt: what the model was shown, for an estimate of its tokens.

    Returns:
        the terminal event, to be appended once this is committed; None when the job is not the caller's any more.
    """
    job = lifecycle.lock_held(session, job_id, attempt)
    if job is None:
        return None
    if job.cancel_requested_ms is not None:
        ending = replace(ending, status=Status.CANCELLED, finish_reason=None, error=None)
    return _settle(session, job, log, ending, prompt)


def end_unheld(database: Database, redis: Redis, job: Job, ending: Ending, expiry_ms: int) -> bool:
    """End a job that no worker holds: it is queued, or its lease has lapsed. If its owner renews meanwhile, leave it alone.

    The log is fenced before it is read: a step of the database's clock ends a lease that its owner, by its own clock, still holds.
    So the log that is read is the whole log. An owner that renews in between loses its attempt, and the job is taken over.

    Returns:
        whether this call ended it.

    Raises:
        DatabaseUnavailable, RedisError: nothing was written; a sweep will try again.
    """
    if job.attempt:
        redis.execute_command(*stream.fence_command(job.id, job.attempt + 1, EMPTY_FENCE_MS))
    log = list(stream.read(redis, job.id)) if job.attempt else []
    last_epoch = epoch.current(redis) if job.attempt else job.log_epoch
    with database.write() as session:
        locked = lifecycle.lock_unheld(session, job)
        if locked is None:
            return False
        was_given_back = locked.status is Status.QUEUED and locked.requeued_for != events.WORKER_LOST
        locked.attempt += 1
        lost = opening(
            log,
            attempt=locked.attempt,
            model=job.model,
            reason=events.WORKER_LOST,
            log_seq=locked.log_seq,
            trusted=was_given_back or locked.log_epoch == last_epoch,
        )
        _settle(session, locked, [*log, lost] if lost.is_legal_jump else log, ending, locked.request.get("messages", []))
    return close_log(database, redis, job.id, expiry_ms)


class Settled(NamedTuple):
    """What the end of a job writes: the terminal event, `lifecycle.ENDED_COLUMNS`, and the tokens that its user has spent."""

    terminal: Event
    columns: JsonObject
    spent_tokens: int


def settled(attempt: int, log: Sequence[Event], ending: Ending, prompt: Sequence[JsonObject]) -> Settled:
    """Return what the end of an attempt writes; see `end_held` for the arguments."""
    message = assemble(log)
    usage = ending.usage or estimated_usage(prompt, message)
    terminal = _terminal(attempt, log[-1].seq + 1 if log else 1, ending, usage)
    columns: JsonObject = {
        "finish_reason": ending.finish_reason,
        "error": ending.error,
        "usage": usage,
        "message": message,
        "last_seq": terminal.seq,
        "log_seq": terminal.seq,
        "archive": zlib.compress(events.pack([*log, terminal])),
        "first_token_ms": ending.first_token_ms,
    }
    return Settled(terminal, columns, usage["total_tokens"] if ending.usage or text_of(message) else 0)


def answer_values(job: Job, ending: Ending, message: JsonObject) -> JsonObject:
    """Return the values of the row, by column, that holds a job's answer in its conversation."""
    failed_turn = job.request.get("turn_messages", 1) if ending.status is Status.FAILED and not text_of(message) else None
    row = tree.values(message, job.conversation_id or "", job.user_message_id)
    origin = ending.origin or ({"model": job.model} if needs_its_model(message) else None)
    return {**row, "id": job.answer_id, "origin": origin, "failed_turn": failed_turn}


def _settle(session: Session, job: Job, log: Sequence[Event], ending: Ending, prompt: Sequence[JsonObject]) -> Event:
    """Write the end of a locked job, and return its terminal event."""
    end = settled(job.attempt, log, ending, prompt)
    lifecycle.end(job, ending.status, {**end.columns, "first_token_ms": ending.first_token_ms or job.first_token_ms})
    webhook_events.add_deliveries(session, job, ending.status)
    if job.conversation_id and session.get(Conversation, job.conversation_id):
        session.add(Message(**answer_values(job, ending, end.columns["message"])))
    if end.spent_tokens:
        spent = User.used_tokens + end.spent_tokens
        session.execute(update(User).where(User.id == job.user_id).values(used_tokens=spent), execution_options=_QUIET)
    return end.terminal


def _terminal(attempt: int, seq: int, ending: Ending, usage: JsonObject) -> Event:
    fields: JsonObject = {"usage": {name: count for name, count in usage.items() if name not in DETAILS}}
    if ending.status is Status.FAILED:
        fields = {"error": ending.error, **fields}
    elif ending.status is not Status.CANCELLED:
        fields = {"finish_reason": ending.finish_reason, **fields}
    return events.make(attempt, seq, ending.status.value, fields)


def archived(session: Session, job_id: str) -> list[Event]:
    """Read the whole log of a job that is over, from its row; empty when there is none."""
    job = session.get(Job, job_id, options=[undefer(Job.archive)], populate_existing=True)
    return events.unpack(zlib.decompress(job.archive)) if job and job.archive else []


def close_log(database: Database, redis: Redis, job_id: str, expiry_ms: int) -> bool:
    """Make the log in Redis end as the row says, whatever Redis has, so that live readers see the end.

    Raises:
        DatabaseUnavailable, RedisError: a sweep will try again.
    """
    with database.read() as session:
        log = archived(session, job_id)
    if log:
        previous = log[-2].id if len(log) > 1 else stream.EMPTY_TAIL
        write = Write(job_id, log[-1].attempt, previous, log[-1:], expiry_ms)
        if _written(redis, write) is WriteVerdict.HOLE:
            _written(redis, write._replace(entries=log, rewrite=True))
    with database.write() as session:
        exists = mark_closed(session, [job_id])
    if not exists:  # it was deleted meanwhile, and its log must not stay behind
        redis.execute_command(*stream.remove_command(job_id))
    return bool(log)


def _written(redis: Redis, write: Write) -> WriteVerdict:
    return stream.written(redis.execute_command(*write.command())).verdict


def mark_closed(session: Session, job_ids: Sequence[str]) -> set[str]:
    """Record that the logs of these jobs in Redis have their terminal events; return the jobs that still exist."""
    closed = update(Job).where(Job.id.in_(job_ids)).values(log_closed=True).returning(Job.id)
    return set(session.scalars(closed, execution_options=_QUIET))
