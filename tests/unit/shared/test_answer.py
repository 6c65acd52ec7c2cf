"""What a log's deltas add up to."""

from typing import Any

import pytest

from shared import events
from shared.events import Event
from shared.messages import answer


def log(*said: dict[str, Any] | str) -> list[Event]:
    """A log: a dict is a delta, a word the reason for a restart."""
    told: list[Event] = [events.make(1, 1, events.STARTED, {"attempt": 1, "model": "demo"})]
    for seq, part in enumerate(said, start=2):
        fields = {"attempt": 2, "reason": part} if isinstance(part, str) else {"delta": part}
        told.append(events.make(1, seq, events.RESTARTED if isinstance(part, str) else events.DELTA, fields))
    return told


def call(index: int, **function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": function}]}


def test_nothing_said_is_a_message_without_content() -> None:
    assert answer.assemble([]) == {"role": "assistant", "content": None}
    assert answer.assemble(log({"role": "assistant", "content": ""})) == {"role": "assistant", "content": None}


def test_pieces_of_text_are_joined() -> None:
    said = log({"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": None}, {"content": "lo"})

    assert answer.assemble(said) == {"role": "assistant", "content": "Hello"}


def test_a_refusal_stands_beside_the_content() -> None:
    said = log({"content": "Well, "}, {"refusal": "I can"}, {"refusal": "not."})

    assert answer.assemble(said) == {"role": "assistant", "content": "Well, ", "refusal": "I cannot."}


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    first = {"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": {"name": "add", "arguments": ""}}]}
    second = {"tool_calls": [{"index": 1, "id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}}]}
    said = log(second, first, call(0, arguments='{"a"'), call(0, arguments=": 1}"), {"tool_calls": [{"index": 1}]})

    assert answer.assemble(said)["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]


def test_a_tool_call_without_an_index_is_the_first() -> None:
    said = log(
        {"tool_calls": [{"index": None, "id": "call_a", "function": {"name": "add"}}]}, call(0, arguments="{}"), call(1, name="b")
    )

    assert [part["function"]["name"] for part in answer.assemble(said)["tool_calls"]] == ["add", "b"]


def test_a_restart_drops_all_that_was_said() -> None:
    said = log({"content": "old", "refusal": "no"}, call(0, name="old"), events.WORKER_LOST, {"content": "new"})

    assert answer.assemble(said) == {"role": "assistant", "content": "new"}
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
    assert answer.text_of(message) == text


def test_usage_nobody_told_is_estimated_and_says_so() -> None:
    message = answer.assemble(log({"content": "12345", "refusal": "1"}, call(0, name="12", arguments="3456")))
    usage = answer.estimated_usage([{"role": "user", "content": "12345678"}, {"role": "user", "content": "1"}], message)

    assert usage == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6, "estimated": True}
