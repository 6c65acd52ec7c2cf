"""Save a job and the rows that belong to it, all or nothing: on PostgreSQL in one statement, on SQLite in one transaction.

The statements are built once for each shape and then only executed: building one takes longer than the database needs for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    Connection,
    Executable,
    Insert,
    Row,
    Select,
    Update,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from shared.database import now_ms
from shared.jobs import claiming
from shared.json_types import JsonObject
from shared.models import Conversation, ConversationName, IdempotencyKey, Job, Message, Status, User
from shared.models.base import Base
from shared.models.job import QUEUED

SHAPES = 256
"""Statements that are kept built; a shape counts the messages of a turn, which a client chooses."""

_BEGINNING = {"attempt": 0, "log_seq": 0, "provider_errors": 0, "lost_workers": 0, "log_closed": False}
_GIVEN = (
    *("id", "user_id", "conversation_id", "position", "user_message_id", "answer_id", "kind", "model", "request"),
    *("on_interrupt", "labels", "wire", "wire_request", "stored"),
)
_RETURNED = (Job.id, Job.created_ms, Job.model)


@dataclass(frozen=True)
class Bounds:
    """Fewer than so many jobs of the user, and of all, must be waiting for a job to be saved. Counted no further than this."""

    of_user: int
    of_all: int


@dataclass(frozen=True)
class NewJob:
    """A job to be saved, and the rows that go with it, as values by column.

    `default_model` is the model where neither the job nor its user names one; `deadline_ms` counts from now. `conversation` and
    `name` are those of a new conversation; `leaf_of` is the id of a known one, whose leaf the job's answer will be. `key` is an
    idempotency key, which takes the place of an earlier one of its name if `key_renews`.
    """

    job: JsonObject
    default_model: str
    deadline_ms: int
    conversation: JsonObject | None = None
    name: JsonObject | None = None
    leaf_of: str | None = None
    messages: Sequence[JsonObject] = ()
    key: JsonObject | None = None
    key_renews: bool = False


@dataclass(frozen=True)
class _Shape:
    is_bounded: bool
    has_conversation: bool
    has_name: bool
    moves_leaf: bool
    messages: int
    has_key: bool
    key_renews: bool


def save(connection: Connection, new: NewJob, bounds: Bounds | None = None) -> Job | None:
    """Save a job, and what belongs to it.

    Args:
        connection: of PostgreSQL, for a statement of its own or in a transaction; of SQLite, in a transaction.
        new: the job and its rows.
        bounds: save it only if fewer jobs wait than these.

    Returns:
        the job as it was saved, not attached to any session; None where it was not, since a bound was reached or its user does not
        exist. On SQLite the transaction must then be rolled back.

    Raises:
        IntegrityError: a name or a key is taken.
    """
    has_key, renews = new.key is not None, new.key_renews
    has_conversation, has_name, moves_leaf = new.conversation is not None, new.name is not None, new.leaf_of is not None
    shape = _Shape(bounds is not None, has_conversation, has_name, moves_leaf, len(new.messages), has_key, renews)
    values = _values(new, bounds)
    if connection.dialect.name == "postgresql":
        saved = connection.execute(_at_once(shape), values).first()
    else:
        saved = _one_after_another(connection, shape, values)
    return None if saved is None else _as_saved(new, saved)


def _as_saved(new: NewJob, saved: Row[Any]) -> Job:
    moments = {"created_ms": saved.created_ms, "rung_ms": saved.created_ms, "deadline_ms": saved.created_ms + new.deadline_ms}
    return Job(status=Status.QUEUED, **{**new.job, **_BEGINNING, **moments, "model": saved.model})


def _values(new: NewJob, bounds: Bounds | None) -> dict[str, Any]:
    """Return the values of all parameters: those of a row are named by the row and the column."""
    rows: dict[str, JsonObject | None] = {
        "job": new.job,
        "conversation": new.conversation,
        "name": new.name,
        "key": new.key,
        **{f"message{index}": row for index, row in enumerate(new.messages)},
    }
    values = {f"{kind}_{name}": value for kind, row in rows.items() for name, value in (row or {}).items()}
    values |= {"default_model": new.default_model, "deadline_in_ms": new.deadline_ms}
    values |= {} if new.leaf_of is None else {"leaf_of": new.leaf_of}
    return values if bounds is None else {**values, "of_user": bounds.of_user, "of_all": bounds.of_all}


@lru_cache(SHAPES)
def _at_once(shape: _Shape) -> Executable:
    """Return one statement for PostgreSQL. What belongs to the job is saved for each job that is: for one, or for none."""
    job = _job(shape).cte("job")
    others = [*_before(shape, job), *_after(shape, job)]
    return select(job).add_cte(*(statement.cte(f"other{index}") for index, statement in enumerate(others)))


def _one_after_another(connection: Connection, shape: _Shape, values: dict[str, Any]) -> Row[Any] | None:
    """Save in several statements: what the job refers to, the job, what refers to it."""
    before, job, after = _in_order(shape)
    for statement in before:
        connection.execute(statement, values)
    saved = connection.execute(job, values).first()
    if saved is not None:
        for statement in after:
            connection.execute(statement, values)
    return saved


@lru_cache(SHAPES)
def _in_order(shape: _Shape) -> tuple[Sequence[Insert | Update], Insert, Sequence[Insert | Update]]:
    return list(_before(shape, None)), _job(shape), list(_after(shape, None))


def _job(shape: _Shape) -> Insert:
    values = {name: _parameter(Job, "job", name) for name in _GIVEN}
    values["model"] = func.coalesce(values["model"], User.model, bindparam("default_model", type_=Job.model.type))
    values |= {name: literal(value) for name, value in _BEGINNING.items()}
    values |= {"status": QUEUED, "created_ms": now_ms(), "rung_ms": now_ms()}
    values["deadline_ms"] = now_ms() + bindparam("deadline_in_ms", type_=Job.deadline_ms.type)
    row = select(*values.values()).select_from(User).where(User.id == values["user_id"])
    if shape.is_bounded:
        row = row.where(
            _fewer_than("of_user", claiming.waiting_jobs(values["user_id"])), _fewer_than("of_all", claiming.waiting_jobs())
        )
    return insert(Job).from_select(list(values), row, include_defaults=False).returning(*_RETURNED)


def _fewer_than(bound: str, jobs: Select[str]) -> Any:
    """Return the condition that fewer jobs than a bound wait."""
    most = bindparam(bound, type_=Job.attempt.type)
    return select(func.count()).select_from(jobs.limit(most).subquery()).scalar_subquery() < most


def _before(shape: _Shape, job: CTE | None) -> Iterator[Insert | Update]:
    """Yield what the job refers to, as far as it is new."""
    if shape.has_conversation:
        new = ("id", "user_id", "system_prompt", "leaf_id", "title", "labels", "last_position")
        yield _row(insert(Conversation), Conversation, "conversation", new, job)
    if shape.has_name:
        yield _row(insert(ConversationName), ConversationName, "name", ("user_id", "name", "conversation_id"), job)
    if shape.moves_leaf:
        moved = update(Conversation).values(leaf_id=_parameter(Job, "job", "answer_id"))
        known = Conversation.id == bindparam("leaf_of", type_=Conversation.id.type)
        yield moved.where(known) if job is None else moved.where(known, select(job.c.id).exists())
    for index in range(shape.messages):
        columns = ("id", "conversation_id", "parent_id", "role", "body")
        yield _row(insert(Message), Message, f"message{index}", columns, job)


def _after(shape: _Shape, job: CTE | None) -> Iterator[Insert]:
    """Yield what refers to the job."""
    if shape.has_key:
        columns = ("user_id", "key", "body_hash", "job_id")
        kind = sqlite.insert if job is None else postgresql.insert
        key = kind(IdempotencyKey)
        row = _row(key, IdempotencyKey, "key", columns, job)
        yield _replacing(row) if shape.key_renews else row


def _replacing(row: Any) -> Any:
    new = {name: row.excluded[name] for name in ("body_hash", "job_id", "created_ms")}
    return row.on_conflict_do_update(index_elements=["user_id", "key"], set_=new)


def _row(into: Any, table: type[Base], kind: str, columns: Sequence[str], job: CTE | None) -> Any:
    """Return an INSERT of one row: at once, or for each row of `job`."""
    values = {name: _parameter(table, kind, name) for name in columns}
    values["created_ms"] = now_ms()
    if job is None:
        return into.values(values)
    return into.from_select(list(values), select(*values.values()).select_from(job), include_defaults=False)


def _parameter(table: type[Base], kind: str, column: str) -> Any:
    return bindparam(f"{kind}_{column}", type_=table.__table__.c[column].type)
