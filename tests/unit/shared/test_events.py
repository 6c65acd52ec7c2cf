"""The vocabulary of a log: what is written is what is read, byte for byte."""

import subprocess
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import events
from shared.events import Event

# Whatever JSON holds: also line ends, blanks and NUL inside of strings.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KINDS = st.sampled_from([events.STARTED, events.DELTA, events.RESTARTED, *sorted(events.TERMINAL)])
FIELDS = st.dictionaries(TEXTS.filter(lambda name: name not in ("seq", "type")), TEXTS | st.integers(-(2**53), 2**53) | st.none())
EVENTS = st.builds(events.make, st.integers(1, 2**31), st.integers(1, 2**62), KINDS, FIELDS)


@given(EVENTS)
def test_a_line_is_read_as_it_was_written(event: Event) -> None:
    assert events.parse_line(event.line()) == event
    assert b"\n" not in event.line()


@given(st.lists(EVENTS))
def test_many_lines_are_read_as_they_were_written(many: list[Event]) -> None:
    assert events.unpack(events.pack(many)) == many


def test_the_data_repeats_seq_and_type_first() -> None:
    event = events.make(3, 7, events.DELTA, {"delta": {"content": "ä\n"}})

    assert event.id == "3-7"
    assert event.data == '{"seq":7,"type":"delta","delta":{"content":"ä\\n"}}'.encode()
    assert orjson.loads(event.data) == event.fields()


@pytest.mark.parametrize("kind", [events.STARTED, events.DELTA, events.RESTARTED])
def test_these_are_not_the_end(kind: str) -> None:
    assert not events.make(1, 1, kind, {"reason": "drained"}).is_terminal


@pytest.mark.parametrize("kind", ["completed", "failed", "cancelled", "incomplete"])
def test_these_are_the_end(kind: str) -> None:
    assert events.make(1, 1, kind, {}).is_terminal


@pytest.mark.parametrize(
    ("kind", "fields", "legal"),
    [
        (events.RESTARTED, {"reason": events.LOG_LOST}, True),
        (events.RESTARTED, {"reason": events.WORKER_LOST}, False),
        (events.DELTA, {"delta": {"content": "log_lost"}, "reason": events.LOG_LOST}, False),
    ],
)
def test_only_a_restart_after_a_lost_log_may_jump(kind: str, fields: dict[str, object], legal: bool) -> None:
    assert events.make(2, 10_001, kind, fields).is_legal_jump is legal


PAGES_KEPT = """
from pathlib import Path
from shared import events
def pages(): return int(Path("/proc/self/statm").read_text().split()[1])
before = pages()
kept = [events.make(1, seq, events.DELTA, {"delta": {"content": "a"}}) for seq in range(20_000)]
print(pages() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads its own memory from /proc")
def test_an_event_that_is_kept_takes_no_kilobytes() -> None:
    pages = int(subprocess.check_output([sys.executable, "-c", PAGES_KEPT], text=True, timeout=60))

    assert pages < 5_000  # 20,000 events of a page each would be four times as much
