"""End a job that the caller holds: on PostgreSQL in one statement, on SQLite in a few, behind no lock.

Where a cancel was requested before, or webhooks are to be told, `ending.end_held` does it behind the row's lock.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    Executable,
    Insert,
    Integer,
    Select,
    String,
    Update,
    bindparam,
    func,
    insert,
    select,
    update,
)

from shared.database import Database, now_ms
from shared.events import Event
from shared.jobs import claiming, ending, lifecycle
from shared.jobs.ending import Ending, Settled
from shared.json_types import JsonObject
from shared.models import Conversation, Job, Message, User
from shared.models.job import IN_PROGRESS, is_open
from shared.webhooks import events as webhook_events

LOOK_JOBS = 1_000
"""How many waiting jobs of a user are counted at the most."""

_ANSWER_COLUMNS = ("id", "conversation_id", "parent_id", "role", "body", "origin", "failed_turn")


class Ended(NamedTuple):
    """The terminal event, to be appended now, and a job that may have waited for this end, to be rung for."""

    terminal: Event
    waiting_id: str | None


def end(
    database: Database,
    job: Job,
    attempt: int,
    log: Sequence[Event],
    how: Ending,
    prompt: Sequence[JsonObject],
    max_running: int = claiming.UNLIMITED,
) -> Ended | None:
    """End a job that the caller holds; a cancel that was requested before wins.

    Args:
        database: where it is.
        job: the row as it was claimed.
        attempt: the caller's attempt.
        log: every event so far.
        how: how it ended.
        prompt: what the model was shown, for an estimate of its tokens.
        max_running: how many jobs of one user may run.

    Returns:
        the terminal event, and who may have waited; None when the job is not the caller's any more.

    Raises:
        DatabaseUnavailable: it is not known whether the job was ended; call again.
    """
    settled = ending.settled(attempt, log, how, prompt)
    values = _values(job, attempt, how, settled, max_running)
    if not webhook_events.may_be_due(job):
        has_answer = job.conversation_id is not None
        row = _in_order(database, values, has_answer) if database.is_sqlite else _at_once(database, values, has_answer)
        if row is not None:
            return Ended(settled.terminal, row.waiting_id)
    with database.write() as session:
        waiting_id = session.connection().scalar(_asked(), values)
        terminal = ending.end_held(session, job.id, attempt, log, how, prompt)
        return Ended(terminal, waiting_id) if terminal else None


def _values(job: Job, attempt: int, how: Ending, settled: Settled, max_running: int) -> dict[str, Any]:
    values: dict[str, Any] = {f"new_{name}": value for name, value in settled.columns.items()}
    values |= {"ended_job": job.id, "ended_attempt": attempt, "ended_status": how.status, "spent_tokens": settled.spent_tokens}
    values |= {"of_user": job.user_id, "of_conversation": job.conversation_id, "own_position": job.position}
    values |= {"most": max_running, "look": min(max_running, LOOK_JOBS)}
    if job.conversation_id is not None:
        row = ending.answer_values(job, how, settled.columns["message"])
        values |= {f"row_{name}": row[name] for name in _ANSWER_COLUMNS}
    return values


def _at_once(database: Database, values: dict[str, Any], has_answer: bool) -> Any:
    with database.statement() as connection:
        return connection.execute(_whole(has_answer), values).first()


@cache
def _whole(has_answer: bool) -> Executable:
    ended = lifecycle.end_uncancelled().returning(Job.id).cte("ended")
    others = [_spend(ended)] + ([_answer(ended)] if has_answer else [])
    statement = select(ended.c.id, _waiting().scalar_subquery().label("waiting_id"))
    return statement.add_cte(*(other.cte(f"other{index}") for index, other in enumerate(others)))


def _in_order(database: Database, values: dict[str, Any], has_answer: bool) -> Any:
    with database.write() as session:
        connection = session.connection()
        waiting = connection.execute(_asked(), values).first()
        if connection.execute(_alone(), values).first() is None:
            return None
        for statement in _others(has_answer):
            connection.execute(statement, values)
        return waiting


@cache
def _asked() -> Select[Any]:
    return select(_waiting().scalar_subquery().label("waiting_id"))


@cache
def _alone() -> Executable:
    return lifecycle.end_uncancelled().returning(Job.id)


@cache
def _others(has_answer: bool) -> Sequence[Insert | Update]:
    return [_spend(None), *([_answer(None)] if has_answer else [])]


def _spend(ended: CTE | None) -> Update:
    spent = User.used_tokens + bindparam("spent_tokens", type_=Integer)
    is_theirs = User.id == bindparam("of_user", type_=String)
    spending = update(User).where(is_theirs, bindparam("spent_tokens", type_=Integer) > 0).values(used_tokens=spent)
    return spending if ended is None else spending.where(select(ended.c.id).exists())


def _answer(ended: CTE | None) -> Insert:
    """Return the INSERT of the answer, which is made only while its conversation exists."""
    columns = Message.__table__.c
    values = [bindparam(f"row_{name}", type_=columns[name].type) for name in _ANSWER_COLUMNS]
    row = select(*values, now_ms()).where(Conversation.id == bindparam("of_conversation", type_=String))
    row = row.select_from(Conversation) if ended is None else row.select_from(Conversation).where(select(ended.c.id).exists())
    return insert(Message).from_select([*_ANSWER_COLUMNS, "created_ms"], row, include_defaults=False)


def _waiting() -> Select[str]:
    """Return a query for a job that waits for this end, asked before it.

    It is the next turn of the conversation; or, where the user has as many jobs as may run at once, one that waits: its doorbell
    may have been refused because of that.
    """
    of_user = bindparam("of_user", type_=String)
    turn = select(Job.id).where(
        Job.conversation_id == bindparam("of_conversation", type_=String),
        Job.position > bindparam("own_position", type_=Integer),
        is_open(),
    )
    next_turn = turn.order_by(Job.conversation_id, Job.position).limit(1).scalar_subquery()
    waiting = claiming.waiting_jobs(of_user)
    running = select(func.count()).where(Job.user_id == of_user, Job.status == IN_PROGRESS).scalar_subquery()
    some = select(func.count()).select_from(waiting.limit(bindparam("look", type_=Integer)).subquery()).scalar_subquery()
    at_limit = waiting.where(running + some >= bindparam("most", type_=Integer)).limit(1).scalar_subquery()
    return select(func.coalesce(next_turn, at_limit))
