"""The tree of a conversation's messages: the path to a message, appending, removing. All of it in the caller's transaction.

Each message names its parent. A parent may have no row: an answer that is still to come, or that never came. Its job knows which
message it answers, so a path leads on past it.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import Text, and_, case, cast, exists, literal, null, select, update
from sqlalchemy.orm import Session

from shared.errors import NotFound
from shared.ids import new_id
from shared.json_types import JsonObject
from shared.models import Conversation, Job, Message

BATCH_MESSAGES = 32
"""How many messages a reader who may stop early reads at once; each may hold megabytes of images."""


def path_ids(session: Session, conversation_id: str | None, message_id: str | None, *, limit: int | None = None) -> list[str]:
    """Return the ids from a message up to the root, nearest first, in one statement.

    An answer without a row is among them. Each id comes once, even where a damaged tree has a cycle.
    """
    steps = select(cast(null(), Text).label("id"), cast(literal(message_id), Text).label("parent_id")).cte("steps", recursive=True)
    answers = Job.conversation_id == conversation_id, Job.answer_id == steps.c.parent_id
    answered = select(Job.user_message_id).where(*answers).limit(1).correlate(steps).scalar_subquery()
    parent = case((Message.id.is_not(None), Message.parent_id), else_=answered)
    steps = steps.union(  # which leaves out what is known, and so ends where a cycle begins again
        select(steps.c.parent_id, cast(parent, Text))
        .select_from(steps)
        .outerjoin(Message, and_(Message.id == steps.c.parent_id, Message.conversation_id == conversation_id))
        .where(steps.c.parent_id.is_not(None))
    )
    rows = session.execute(select(steps.c.id, steps.c.parent_id).where(steps.c.id.is_not(None)).limit(limit))
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
    """Read the messages from one of them up to the root, nearest first, `batch` at once and no more than the caller takes.

    Answers without a row are left out; no more than `limit` ids are followed.
    """
    ids = path_ids(session, conversation_id, message_id, limit=limit)
    for start in range(0, len(ids), batch):
        some = ids[start : start + batch]
        query = select(Message).where(Message.id.in_(some), Message.conversation_id == conversation_id)
        rows = {row.id: row for row in session.scalars(query)}
        yield from (rows[each] for each in some if each in rows)


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


def add(session: Session, row: Message, message: JsonObject) -> str:
    """Add a row that holds a message as OpenAI's chat completions write it, and return its id."""
    row.role = message["role"]
    row.body = {name: value for name, value in message.items() if name != "role"}
    session.add(row)
    return row.id


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
