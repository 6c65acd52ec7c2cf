"""Rows of conversations inside the caller's transaction: found by any of their names, created, locked."""

from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from shared.errors import InvalidRequest, NotFound
from shared.ids import new_id
from shared.models import Conversation, ConversationName
from shared.models.conversation import NAME_CHARS


def find(session: Session, user_id: str, name: str) -> Conversation | None:
    """Return the user's conversation with this id or name, or None."""
    named = select(ConversationName.conversation_id).where(ConversationName.user_id == user_id, ConversationName.name == name)
    return session.scalar(
        select(Conversation)
        .where(Conversation.user_id == user_id, or_(Conversation.id == name, Conversation.id.in_(named)))
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
    conversation = Conversation(id=new_id("conv"), user_id=user_id, system_prompt=system, title=title, last_position=0)
    session.add(conversation)
    session.flush()
    if name is not None:
        if not is_name(name):
            raise InvalidRequest(f"A conversation's name has 1 to {NAME_CHARS} characters.", param="conversation_id")
        session.add(ConversationName(user_id=user_id, name=name, conversation_id=conversation.id))
        session.flush()
    return conversation


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
    session.execute(changed, execution_options={"synchronize_session": False})
    conversation = session.get(Conversation, conversation_id, populate_existing=True)
    if conversation is None:
        raise NotFound("There is no such conversation.", param="conversation_id")
    return conversation
