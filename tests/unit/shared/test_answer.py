"""What a log's deltas add up to."""

from typing import Any

import pytest

from shared import events
from shared.events import Event
from shared.messages import answer
from shared.messages.text import text_of
from shared.messages.usage import estimated_usage


def log(*parts: dict[str, Any] | str) -> list[Event]:
    """A log: a dict is a delta, a word the reason for a restart."""
    entries: list[Event] = [events.make(1, 1, events.STARTED, {"attempt": 1, "model": "demo"})]
    for seq, part in enumerate(parts, start=2):
        fields = {"attempt": 2, "reason": part} if isinstance(part, str) else {"delta": part}
        entries.append(events.make(1, seq, events.RESTARTED if isinstance(part, str) else events.DELTA, fields))
    return entries


def call(index: int, **function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": function}]}


def test_without_deltas_a_message_has_no_content() -> None:
    assert answer.assemble([]) == {"role": "assistant", "content": None}
    assert answer.assemble(log({"role": "assistant", "content": ""})) == {"role": "assistant", "content": None}


def test_parts_of_text_are_joined() -> None:
    entries = log({"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": None}, {"content": "lo"})

    assert answer.assemble(entries) == {"role": "assistant", "content": "Hello"}


def test_a_refusal_stands_beside_the_content() -> None:
    entries = log({"content": "Well, "}, {"refusal": "I can"}, {"refusal": "not."})

    assert answer.assemble(entries) == {"role": "assistant", "content": "Well, ", "refusal": "I cannot."}


def test_tool_calls_are_assembled_from_their_deltas() -> None:
    first = {"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": {"name": "add", "arguments": ""}}]}
    second = {"tool_calls": [{"index": 1, "id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}}]}
    entries = log(second, first, call(0, arguments='{"a"'), call(0, arguments=": 1}"), {"tool_calls": [{"index": 1}]})

    assert answer.assemble(entries)["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]


def test_a_tool_call_without_an_index_is_the_first() -> None:
    entries = log(
        {"tool_calls": [{"index": None, "id": "call_a", "function": {"name": "add"}}]}, call(0, arguments="{}"), call(1, name="b")
    )

    assert [part["function"]["name"] for part in answer.assemble(entries)["tool_calls"]] == ["add", "b"]


def test_a_restart_drops_all_before_it() -> None:
    entries = log({"content": "old", "refusal": "no"}, call(0, name="old"), events.WORKER_LOST, {"content": "new"})

    assert answer.assemble(entries) == {"role": "assistant", "content": "new"}
    assert answer.assemble(log({"content": "old"}, events.LOG_LOST)) == {"role": "assistant", "content": None}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (None, ""),
        ({}, ""),
        ({"content": None}, ""),
        ({"content": "a"}, "a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]}, "ab"),
    ],
)
def test_the_text_of_a_message(message: dict[str, Any] | None, text: str) -> None:
    assert text_of(message) == text


def test_usage_that_no_provider_counted_is_estimated_and_marked() -> None:
    message = answer.assemble(log({"content": "12345", "refusal": "1"}, call(0, name="12", arguments="3456")))
    usage = estimated_usage([{"role": "user", "content": "12345678"}, {"role": "user", "content": "1"}], message)

    assert usage == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6, "estimated": True}
