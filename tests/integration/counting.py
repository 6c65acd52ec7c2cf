"""Count what a database is asked for: statements, and rows of messages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from shared.database import Database
from shared.models import Message


@dataclass
class Reads:
    """What was executed and loaded while it was counted."""

    statements: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


@contextmanager
def counted(database: Database) -> Iterator[Reads]:
    """Record the statements on a database, and the ids of the messages that are loaded from it."""
    reads = Reads()

    def executed(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
        reads.statements.append(statement)

    def loaded(message: Message, _: object) -> None:
        reads.messages.append(message.id)

    event.listen(database.engine, "before_cursor_execute", executed)
    event.listen(Message, "load", loaded)
    try:
        yield reads
    finally:
        event.remove(database.engine, "before_cursor_execute", executed)
        event.remove(Message, "load", loaded)
