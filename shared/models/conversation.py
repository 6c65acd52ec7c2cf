"""Conversations and their messages: a tree of turns with a current leaf."""

from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, CreatedMs, Id, PrimaryId

ROLE_CHARS = 16
NAME_CHARS = 255


class Conversation(Base):
    """A tree of messages. `last_position` numbers its jobs; it is raised under the row's lock."""

    __tablename__ = "conversations"

    id: Mapped[PrimaryId]
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    system_prompt: Mapped[str | None] = mapped_column(Text)
    leaf_id: Mapped[Id | None]
    title: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    last_position: Mapped[int] = mapped_column(default=0)
    created_ms: Mapped[CreatedMs] = mapped_column(index=True)


class ConversationName(Base):
    """Another name of a conversation, known to its user only: clients of other projects choose ids, and agents have their own."""

    __tablename__ = "conversation_names"

    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    conversation_id: Mapped[Id] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    created_ms: Mapped[CreatedMs]


class Message(Base):
    """One message. `body` is the message as OpenAI writes it, without its role; `parent_id` makes the tree.

    `origin` is what an agent said about its answer besides the text, by which it can be asked to go on from there; of a model's
    answer that has more than text and calls, the `model`, since another may not understand it. The empty answer
    of a turn that failed has in `failed_turn` how many messages that turn had: later turns are not shown them.
    """

    __tablename__ = "messages"

    id: Mapped[PrimaryId]
    conversation_id: Mapped[Id] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[Id | None]
    role: Mapped[str] = mapped_column(String(ROLE_CHARS))
    body: Mapped[dict[str, Any]]
    origin: Mapped[dict[str, Any] | None]
    failed_turn: Mapped[int | None]
    created_ms: Mapped[CreatedMs]
