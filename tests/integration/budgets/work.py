"""Count the work of one thing that is done: statements, transactions, Redis round trips, crossings into the event loop."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import pytest
import redis.asyncio.connection
import redis.connection
from sqlalchemy import event

from shared.database import Database
from workers.loop import Loop


@dataclass
class Work:
    """What was done while it was counted. A pipeline is one round trip, and so is a script."""

    statements: int = 0
    transactions: int = 0
    round_trips: int = 0
    loop_crossings: int = 0

    def counts(self) -> tuple[int, ...]:
        """Return the four counts, in the order of the fields."""
        return astuple(self)


@contextmanager
def counted(database: Database, *, everywhere: bool = False) -> Iterator[Work]:
    """Count the work of the thread that calls; `everywhere`: of all threads, and of their event loops."""
    work, here = Work(), threading.get_ident()

    def add(name: str) -> None:
        if everywhere or threading.get_ident() == here:
            setattr(work, name, getattr(work, name) + 1)

    def executed(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):  # SQLite's own, which counts as a transaction already
            add("statements")

    def begun(*_: object) -> None:
        add("transactions")

    with pytest.MonkeyPatch.context() as patch:
        for connection in (redis.connection.AbstractConnection, redis.asyncio.connection.AbstractConnection):
            _count_calls(patch, connection, "send_packed_command", lambda: add("round_trips"))
        _count_calls(patch, Loop, "run", lambda: add("loop_crossings"))
        event.listen(database.engine, "after_cursor_execute", executed)
        event.listen(database.engine, "begin", begun)
        try:
            yield work
        finally:
            event.remove(database.engine, "after_cursor_execute", executed)
            event.remove(database.engine, "begin", begun)


def _count_calls(patch: pytest.MonkeyPatch, kind: type, name: str, count: Any) -> None:
    call = getattr(kind, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        count()
        return call(*args, **kwargs)

    patch.setattr(kind, name, counting)
