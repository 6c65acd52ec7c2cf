"""What the operator sets while everything runs, for all users and processes."""

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import WORD_CHARS, Base

GLOBAL_PROMPT = "global_prompt"
"""The system prompt that new chats of the proxy dialect begin with."""


class Setting(Base):
    """One value under one name."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(String(WORD_CHARS), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
