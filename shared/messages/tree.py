"""The tree of a conversation's messages: the path to a message, appending, removing. All of it in the caller's transaction.

Each message names its parent. A parent may have no row: an answer that is still to come, or that never came. Its job knows which
message it answers, so a path leads on past it.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.orm import Session

from shared.errors import NotFound
from shared.ids import new_id
from shared.json_types import JsonObject
from shared.models import Conversation, Job, Message

BATCH_MESSAGES = 32
"""How many messages a reader who may stop early reads at once; each may hold megabytes of images."""


def path_ids(session: Session, conversation_id: str | None, message_id: str | None) -> list[str]:
    """Return the ids from a message up to the root, nearest first, in one statement.

    An answer without a row is among them. Each id comes once, even where a damaged tree has a cycle.
    """
    steps = _steps(cast(literal(conversation_id), Text), message_id)
    rows = session.execute(select(steps.c.id, steps.c.parent_id).where(steps.c.id.is_not(None)))
    parents: dict[str, str | None] = {step.id: step.parent_id for step in rows}
    ids = []
    while message_id is not None and message_id in parents:
        ids.append(message_id)
        message_id = parents.pop(message_id)
    return ids


def path_up(
    session: Session,
    conversation_id: str | None,
    message_id: str | None,
    *,
    batch: int = BATCH_MESSAGES,
    limit: int | None = None,
) -> Iterator[Message]:
    """Read the messages from one of them up to the root, nearest first: `batch` steps in one statement, and no more than are taken.

    Answers without a row are left out; no more than `limit` ids are followed.
    """
    seen: set[str] = set()
    values = {"of_conversation": conversation_id, "steps": batch}
    while message_id is not None:
        rows = session.execute(_window(), {**values, "first_id": message_id}).all()
        message_id = rows[-1].next_id if rows else None
        for row in rows:
            if row.step_id in seen or len(seen) == limit:
                return
            seen.add(row.step_id)
            if row.Message is not None:
                yield row.Message


@cache
def _window() -> Select[Any]:
    """Return the query for some steps of a path, nearest first, each with its message where there is one."""
    of_conversation = bindparam("of_conversation", type_=Text)
    first = cast(bindparam("first_id", type_=Text), Text)
    steps = select(literal(0).label("place"), cast(null(), Text).label("id"), first.label("parent_id")).cte("steps", recursive=True)
    further = steps.c.parent_id.is_not(None), steps.c.place < bindparam("steps", type_=Integer)
    steps = steps.union_all(_step(steps, of_conversation, steps.c.place + 1).where(*further))
    found = and_(Message.id == steps.c.id, Message.conversation_id == of_conversation)
    columns = steps.c.id.label("step_id"), steps.c.parent_id.label("next_id"), Message
    return select(*columns).select_from(steps).outerjoin(Message, found).where(steps.c.place > 0).order_by(steps.c.place)


def _steps(of_conversation: ColumnElement[str], message_id: str | None) -> CTE:
    """Return all steps of a path. What is known is left out, so that it ends where a cycle begins again."""
    first = cast(literal(message_id), Text)
    steps = select(cast(null(), Text).label("id"), first.label("parent_id")).cte("steps", recursive=True)
    return steps.union(_step(steps, of_conversation).where(steps.c.parent_id.is_not(None)))


def _step(steps: CTE, of_conversation: ColumnElement[str], *before: ColumnElement[Any]) -> Select[Any]:
    """Return the query for the parent of each step: its message's, or what the job of an answer without a row has answered."""
    answers = Job.conversation_id == of_conversation, Job.answer_id == steps.c.parent_id
    answered = select(Job.user_message_id).where(*answers).limit(1).correlate(steps).scalar_subquery()
    parent = case((Message.id.is_not(None), Message.parent_id), else_=answered)
    joined = and_(Message.id == steps.c.parent_id, Message.conversation_id == of_conversation)
    return select(*before, steps.c.parent_id, cast(parent, Text)).select_from(steps).outerjoin(Message, joined)


def append(session: Session, conversation_id: str, turn: Sequence[JsonObject], parent_id: str | None) -> str | None:
    """Append messages, as OpenAI's chat completions write them: the first follows a parent, each other one the one before.

    Returns:
        the last one's id; the parent's where there are none.
    """
    for message in turn:
        row = Message(**values(message, conversation_id, parent_id))
        session.add(row)
        parent_id = row.id
    return parent_id


def values(message: JsonObject, conversation_id: str, parent_id: str | None) -> JsonObject:
    """Return the values of a new row, by column, that holds a message as OpenAI's chat completions write it."""
    body = {name: value for name, value in message.items() if name != "role"}
    return {"id": new_id("msg"), "conversation_id": conversation_id, "parent_id": parent_id, "role": message["role"], "body": body}


def resolve_parent(session: Session, conversation: Conversation, message_id: str) -> str | None:
    """Return the parent for a message that follows another one: the other one, which may be an answer that is still to come.

    What follows an answer that was removed has the message that it answered as its parent, or the leaf if that was removed, too.

    Raises:
        NotFound: no message of this conversation has, or had as an answer, this id.
    """
    # The job first: what was over at this look has its answer written, if there is one at all, by the next.
    job = session.scalar(select(Job).where(Job.answer_id == message_id, Job.conversation_id == conversation.id).limit(1))
    if _has_row(session, conversation.id, message_id):
        return message_id
    if job is None:
        raise NotFound("There is no such message in this conversation.", param="parent_id")
    if not job.status.is_terminal:
        return message_id
    answered_id = job.user_message_id
    return answered_id if answered_id and _has_row(session, conversation.id, answered_id) else conversation.leaf_id


def _has_row(session: Session, conversation_id: str, message_id: str) -> bool:
    return bool(session.scalar(select(exists().where(Message.id == message_id, Message.conversation_id == conversation_id))))


def reparent(session: Session, conversation_id: str, message_id: str, parent_id: str | None) -> None:
    """Let what follows a message, and the leaf if it is that message, follow another one. The conversation must be locked."""
    following = Message.conversation_id == conversation_id, Message.parent_id == message_id
    session.execute(update(Message).where(*following).values(parent_id=parent_id))
    is_leaf = Conversation.id == conversation_id, Conversation.leaf_id == message_id
    session.execute(update(Conversation).where(*is_leaf).values(leaf_id=parent_id))


def remove(session: Session, message: Message) -> None:
    """Remove a message; what follows it follows its parent. The conversation must be locked."""
    reparent(session, message.conversation_id, message.id, message.parent_id)
    session.delete(message)
    session.flush()
