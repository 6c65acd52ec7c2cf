"""Conversations: found by any of their names, listed, shown, changed, deleted.

Messages are a tree; a leaf says where talk goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from shared.errors import InvalidRequest, NotFound
from shared.ids import new_id
from shared.messages import tree
from shared.models import Conversation, ConversationName, Job, Message, User
from shared.models.conversation import NAME_CHARS

if TYPE_CHECKING:
    from api.context import Context

PATH_BATCH = 1_000
"""How many messages of a path that is read whole are read at once."""


@dataclass(frozen=True)
class Overview:
    """A conversation in a list: its names (oldest first), when it last changed, and what its last answer used."""

    conversation: Conversation
    names: list[str]
    changed_ms: int
    last_tokens: int


def find(session: Session, user_id: str, name: str) -> Conversation | None:
    """Find somebody's conversation by its id or one of its names; None where there is none of his."""
    named = select(ConversationName.conversation_id).where(ConversationName.user_id == user_id, ConversationName.name == name)
    return session.scalar(
        select(Conversation)
        .where(Conversation.user_id == user_id, or_(Conversation.id == name, Conversation.id.in_(named)))
        .order_by(Conversation.id != name)
        .limit(1)
    )


def get(context: "Context", user_id: str, name: str, *, param: str = "conversation_id") -> Conversation:
    """Find somebody's conversation.

    Raises:
        NotFound: there is none, or it is somebody else's; the two answer alike.
    """
    with context.database.read() as session:
        found = find(session, user_id, name)
    if found is None:
        raise NotFound("There is no such conversation.", param=param)
    return found


def make(
    session: Session, user_id: str, *, name: str | None = None, system: str | None = None, title: str | None = None
) -> Conversation:
    """Begin a conversation, under a name of its owner's choice besides its id.

    Raises:
        InvalidRequest: no conversation can be called so.
    """
    made = Conversation(id=new_id("conv"), user_id=user_id, system_prompt=system, title=title, last_position=0)
    session.add(made)
    session.flush()
    if name is not None:
        if not 0 < len(name) <= NAME_CHARS:
            raise InvalidRequest(f"A conversation's name has 1 to {NAME_CHARS} characters.", param="conversation_id")
        session.add(ConversationName(user_id=user_id, name=name, conversation_id=made.id))
        session.flush()
    return made


def found_or_made(context: "Context", user_id: str, name: str, *, system: str | None = None) -> Conversation:
    """Find somebody's conversation, or begin one under that name with that system prompt."""
    with context.database.write() as session:
        _one_at_a_time(session, user_id)
        return find(session, user_id, name) or make(session, user_id, name=name, system=system)


def add_name(context: "Context", user_id: str, conversation_id: str, name: str) -> None:
    """Give a conversation one more name; one that its owner already uses, or that is none, is left as it is."""
    if not 0 < len(name) <= NAME_CHARS:
        return
    with context.database.write() as session:
        _one_at_a_time(session, user_id)
        is_there = session.get(Conversation, conversation_id) is not None
        if is_there and session.get(ConversationName, (user_id, name)) is None:
            session.add(ConversationName(user_id=user_id, name=name, conversation_id=conversation_id))


def _one_at_a_time(session: Session, user_id: str) -> None:
    """Let whoever gives names to a user's conversations wait for the others, as submissions do: two might give the same."""
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


def page(context: "Context", user_id: str, *, limit: int | None = None, offset: int = 0) -> list[Overview]:
    """List somebody's conversations, the one that changed last first."""
    changed = func.coalesce(func.max(Message.created_ms), Conversation.created_ms)
    query = (
        select(Conversation, changed)
        .outerjoin(Message, Message.conversation_id == Conversation.id)
        .where(Conversation.user_id == user_id)
        .group_by(Conversation.id)
        .order_by(changed.desc(), Conversation.id)
        .limit(limit)
        .offset(offset)
    )
    with context.database.read() as session:
        rows = [(conversation, changed_ms) for conversation, changed_ms in session.execute(query)]
        ids = [conversation.id for conversation, _ in rows]
        names, tokens = _names(session, ids), _last_tokens(session, ids)
    return [Overview(row, names.get(row.id, []), changed_ms, tokens.get(row.id, 0)) for row, changed_ms in rows]


def overview(context: "Context", conversation: Conversation) -> Overview:
    """Tell of one conversation what a list would."""
    with context.database.read() as session:
        changed = session.scalar(select(func.max(Message.created_ms)).where(Message.conversation_id == conversation.id))
        names, tokens = _names(session, [conversation.id]), _last_tokens(session, [conversation.id])
    here = conversation.id
    return Overview(conversation, names.get(here, []), changed or conversation.created_ms, tokens.get(here, 0))


def _names(session: Session, ids: Sequence[str]) -> dict[str, list[str]]:
    rows = session.scalars(
        select(ConversationName)
        .where(ConversationName.conversation_id.in_(ids))
        .order_by(ConversationName.created_ms, ConversationName.name)
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.conversation_id, []).append(row.name)
    return found


def _last_tokens(session: Session, ids: Sequence[str]) -> dict[str, int]:
    last = (
        select(Job.conversation_id, func.max(Job.position).label("position"))
        .where(Job.conversation_id.in_(ids), Job.usage.is_not(None))
        .group_by(Job.conversation_id)
        .subquery()
    )
    rows = session.execute(
        select(Job.conversation_id, Job.usage).join(
            last, (last.c.conversation_id == Job.conversation_id) & (last.c.position == Job.position)
        )
    )
    return {str(conversation_id): (usage or {}).get("total_tokens", 0) for conversation_id, usage in rows}


def messages(context: "Context", conversation: Conversation) -> list[Message]:
    """Read all messages of a conversation's tree, oldest first."""
    with context.database.read() as session:
        query = select(Message).where(Message.conversation_id == conversation.id).order_by(Message.created_ms, Message.id)
        return list(session.scalars(query))


def path(context: "Context", conversation: Conversation) -> list[Message]:
    """Read the messages from the root to the current leaf. An answer that is still to come is not among them."""
    return path_to(context, conversation, conversation.leaf_id)


def path_to(context: "Context", conversation: Conversation, message_id: str | None) -> list[Message]:
    """Read the messages from the root to one of them. An answer that is still to come is not among them."""
    with context.database.read() as session:
        return list(tree.path_up(session, conversation.id, message_id, batch=PATH_BATCH))[::-1]


def locked(session: Session, conversation_id: str, **values: Any) -> Conversation:
    """Read a conversation again, behind its row's lock, with some columns changed: submissions and removals take turns.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    lock = update(Conversation).where(Conversation.id == conversation_id).values(values or {"title": Conversation.title})
    session.execute(lock, execution_options={"synchronize_session": False})
    here = session.get(Conversation, conversation_id, populate_existing=True)
    if here is None:
        raise NotFound("There is no such conversation.", param="conversation_id")
    return here


def set_prompt(context: "Context", conversation: Conversation, system: str | None) -> None:
    """Change a conversation's system prompt; turns from now on are shown the new one."""
    with context.database.write() as session:
        session.execute(update(Conversation).where(Conversation.id == conversation.id).values(system_prompt=system))
