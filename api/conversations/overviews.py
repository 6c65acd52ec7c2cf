"""Overviews of conversations: what a list shows of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.models import Conversation, ConversationName, Job, Message


@dataclass(frozen=True)
class Overview:
    """A conversation in a list: its names (oldest first), when it last changed, and how many tokens its last answer used."""

    conversation: Conversation
    names: list[str]
    changed_ms: int
    last_tokens: int


def page(session: Session, user_id: str, *, limit: int | None = None, offset: int = 0) -> list[Overview]:
    """Return overviews of a user's conversations, the one that changed last first."""
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
    rows = [(conversation, changed_ms) for conversation, changed_ms in session.execute(query)]
    ids = [conversation.id for conversation, _ in rows]
    names, tokens = _names(session, ids), _last_tokens(session, ids)
    return [Overview(row, names.get(row.id, []), changed_ms, tokens.get(row.id, 0)) for row, changed_ms in rows]


def overview(session: Session, conversation: Conversation) -> Overview:
    """Return the overview of one conversation."""
    conversation_id = conversation.id
    changed_ms = session.scalar(select(func.max(Message.created_ms)).where(Message.conversation_id == conversation_id))
    names, tokens = _names(session, [conversation_id]), _last_tokens(session, [conversation_id])
    return Overview(
        conversation, names.get(conversation_id, []), changed_ms or conversation.created_ms, tokens.get(conversation_id, 0)
    )


def first_user_messages(session: Session, ids: Sequence[str]) -> dict[str, Message]:
    """Return the user's message with which each of these conversations begins, by the conversation's id."""
    query = (
        select(Message)
        .where(Message.conversation_id.in_(ids), Message.parent_id.is_(None), Message.role == "user")
        .order_by(Message.created_ms.desc(), Message.id.desc())
    )
    return {message.conversation_id: message for message in session.scalars(query)}


def _names(session: Session, ids: Sequence[str]) -> dict[str, list[str]]:
    rows = session.scalars(
        select(ConversationName)
        .where(ConversationName.conversation_id.in_(ids))
        .order_by(ConversationName.created_ms, ConversationName.name)
    )
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.conversation_id, []).append(row.name)
    return names


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
