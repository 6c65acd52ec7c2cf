"""Rows of conversations inside the caller's transaction: found by any of their names, created, locked."""

from typing import Any

from sqlalchemy import literal, select, union_all, update
from sqlalchemy.orm import Session

from shared.errors import InvalidRequest, NotFound
from shared.ids import new_id
from shared.json_types import JsonObject
from shared.models import Conversation, ConversationName
from shared.models.conversation import NAME_CHARS


def find(session: Session, user_id: str, name: str) -> Conversation | None:
    """Return the user's conversation with this id or name, or None."""
    named = select(ConversationName.conversation_id).where(ConversationName.user_id == user_id, ConversationName.name == name)
    # Not `id = … OR id IN …`, for which PostgreSQL would look at all conversations of the user.
    ids = union_all(select(literal(name, Conversation.id.type)), named)
    return session.scalar(
        select(Conversation)
        .where(Conversation.user_id == user_id, Conversation.id.in_(ids))
        .order_by(Conversation.id != name)
        .limit(1)
    )


def create(
    session: Session, user_id: str, *, name: str | None = None, system: str | None = None, title: str | None = None
) -> Conversation:
    """Create a conversation, known by a name of its user's choice besides its id.

    Raises:
        InvalidRequest: no conversation can have this name.
    """
    conversation = Conversation(**values(new_id("conv"), user_id, system=system, title=title))
    session.add(conversation)
    session.flush()
    if name is not None:
        session.add(ConversationName(**name_values(conversation.id, user_id, name)))
        session.flush()
    return conversation


def values(conversation_id: str, user_id: str, *, system: str | None = None, title: str | None = None) -> JsonObject:
    """Return the values of a new conversation without turns, by column."""
    return {
        "id": conversation_id,
        "user_id": user_id,
        "system_prompt": system,
        "leaf_id": None,
        "title": title,
        "labels": {},
        "last_position": 0,
    }


def name_values(conversation_id: str, user_id: str, name: str) -> JsonObject:
    """Return the values of a new conversation's name, by column.

    Raises:
        InvalidRequest: no conversation can have this name.
    """
    if not is_name(name):
        raise InvalidRequest(f"A conversation's name has 1 to {NAME_CHARS} characters.", param="conversation_id")
    return {"user_id": user_id, "name": name, "conversation_id": conversation_id}


def is_name(text: str) -> bool:
    """Return whether a conversation can have this name."""
    return 0 < len(text) <= NAME_CHARS


def lock(session: Session, conversation_id: str, **values: Any) -> Conversation:
    """Lock a conversation's row, change some of its columns, and return it as it is behind the lock.

    Submissions, removals and other changes of the tree of messages take turns by this.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    changed = update(Conversation).where(Conversation.id == conversation_id).values(values or {"title": Conversation.title})
    as_it_is = {"synchronize_session": False, "populate_existing": True}
    conversation = session.scalars(changed.returning(Conversation), execution_options=as_it_is).first()
    if conversation is None:
        raise NotFound("There is no such conversation.", param="conversation_id")
    return conversation
