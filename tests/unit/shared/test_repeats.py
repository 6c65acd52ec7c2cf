"""A line that repeats is shown now and then, with a count; others are not touched."""

import logging
import time
from typing import Any

import pytest

from shared.telemetry import repeats
from shared.telemetry.repeats import LimitRepeats


def line(event: str, level: int = logging.WARNING, **fields: Any) -> logging.LogRecord:
    record = logging.LogRecord("x", level, __file__, 1, "", None, None)
    record.msg = {"event": event, "timestamp": object(), **fields}
    return record


def test_the_same_line_is_shown_once_and_then_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limit = LimitRepeats()

    assert [limit.filter(line("redis_away")) for _ in range(5)] == [True, False, False, False, False]
    now[0] += repeats.QUIET_SECONDS
    shown = line("redis_away")
    assert limit.filter(shown)
    assert shown.msg["repeated"] == 4  # type: ignore[index]  # a dict, as above


def test_lines_that_differ_are_all_shown() -> None:
    limit = LimitRepeats()

    assert all(limit.filter(line("provider.failed", job=f"job_{number}")) for number in range(5))
    assert all(limit.filter(line("job.claimed", logging.INFO)) for _ in range(5))


def test_a_librarys_lines_are_known_by_their_place() -> None:
    limit = LimitRepeats()
    records = [logging.LogRecord("celery", logging.ERROR, "consumer.py", 7, "again in %s s", (n,), None) for n in range(3)]

    assert [limit.filter(record) for record in records] == [True, False, False]
