"""Chat completions as tables: which requests are accepted, and a log in chunks."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.dialects.openai.chat import answer
from api.dialects.openai.chat.answer import ChunkTranslation
from api.dialects.openai.chat.request import ChatRequest, submission
from api.dialects.openai.sse import DONE, FROM_THE_START, KEEP_ALIVE_COMMENT, frames
from shared import events
from shared.errors import DatabaseUnavailable, InvalidRequest, NotFound
from shared.events import Event
from shared.models import Job, OnInterrupt, Status

HEX = "0123456789abcdef0123456789abcdef"
USAGE = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6, "estimated": False}
HELLO = [{"role": "user", "content": "Hello"}]
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}

STARTED = ("started", {"attempt": 1, "model": "demo"})
RESTARTED = ("restarted", {"attempt": 2, "reason": "worker_lost"})
COMPLETED = ("completed", {"finish_reason": "stop", "usage": USAGE})
FAILED = ("failed", {"error": {"code": "x", "message": "No."}, "usage": USAGE})
CANCELLED = ("cancelled", {"usage": USAGE})

Entry = tuple[str, dict[str, Any]]


def says(**delta: Any) -> Entry:
    return "delta", {"delta": delta}


def job(status: Status = Status.IN_PROGRESS, *, include_usage: bool = False, **more: Any) -> Job:
    row = Job(id=f"job_{HEX}", model="demo", status=status, created_ms=1_700_000_000_999, labels={}, stored=False)
    row.wire_request, row.usage = {"stream": True, "include_usage": include_usage}, USAGE
    for name, value in more.items():
        setattr(row, name, value)
    return row


def log(*entries: Entry) -> list[Event]:
    return [events.make(1, seq, kind, fields) for seq, (kind, fields) in enumerate(entries, 1)]


def over(kind: str) -> Job:
    return job(Status(kind), error={"code": "x", "message": "No."} if kind == "failed" else None)


def chunks(*entries: Entry, include_usage: bool = False) -> list[dict[str, Any]]:
    translation = ChunkTranslation(job(include_usage=include_usage))
    whole: list[dict[str, Any]] = []
    for event in log(*entries):
        if not translation.is_over:
            whole += translation.translate(event, lambda kind=event.type: over(kind))  # type: ignore[misc]  # a default that fixes the name
    assert [fields["sequence_number"] for fields in whole] == list(range(len(whole)))
    return whole


def deltas(whole: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [fields["choices"][0]["delta"] for fields in whole if fields.get("choices")]


def test_a_text_is_told_in_openais_chunks() -> None:
    whole = chunks(STARTED, says(role="assistant", content="Hel"), says(content="lo"), COMPLETED)
    assert deltas(whole) == [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}, {}]
    assert [fields["choices"][0]["finish_reason"] for fields in whole] == [None, None, None, "stop"]
    assert {(fields["id"], fields["object"], fields["created"], fields["model"]) for fields in whole} == {
        (f"chatcmpl-{HEX}", "chat.completion.chunk", 1_700_000_000, "demo")
    }
    assert not any("usage" in fields for fields in whole)


def test_usage_comes_in_a_chunk_of_its_own_where_it_is_wanted() -> None:
    whole = chunks(STARTED, says(content="x"), COMPLETED, include_usage=True)
    assert [fields["usage"] for fields in whole[:-1]] == [None] * 3
    assert (whole[-1]["choices"], whole[-1]["usage"]["total_tokens"]) == ([], 6)


def test_a_providers_delta_goes_through_as_it_came() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    whole = chunks(STARTED, says(reasoning_content="Hm."), says(tool_calls=[call]), says(refusal="no"), COMPLETED)
    assert deltas(whole)[1:-1] == [{"reasoning_content": "Hm."}, {"tool_calls": [call]}, {"refusal": "no"}]


def test_an_answer_that_begins_anew_after_text_ends_the_stream_with_an_error() -> None:
    whole = chunks(STARTED, says(content="1 "), RESTARTED, says(content="1 "), COMPLETED)
    assert whole[-1]["error"]["code"] == "restarted"
    assert len(whole) == 3


def test_a_restart_before_any_text_is_not_told() -> None:
    assert chunks(STARTED, RESTARTED, says(content="x"), COMPLETED) == chunks(STARTED, says(content="x"), COMPLETED)


@pytest.mark.parametrize(("end", "code"), [(FAILED, "x"), (CANCELLED, "cancelled")])
def test_other_ends_are_an_error(end: Entry, code: str) -> None:
    assert chunks(STARTED, says(content="x"), end)[-1]["error"]["code"] == code


def test_a_completion_is_told_whole() -> None:
    message = {"role": "assistant", "content": "Hello"}
    whole = answer.completion(job(Status.COMPLETED, message=message, finish_reason="stop"))
    choice = whole["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"], choice["finish_reason"]) == ("Hello", None, "stop")
    assert whole["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    assert "metadata" not in whole
    assert answer.completion(job(Status.COMPLETED, message=message, stored=True, labels={"a": "b"}))["metadata"] == {"a": "b"}


_SAID = st.lists(st.sampled_from([says(content="a"), says(content="💬"), RESTARTED, says(refusal="no")]), max_size=10)


@given(entries=_SAID, end=st.sampled_from([COMPLETED, CANCELLED, FAILED]), cut=st.integers(FROM_THE_START, 15), usage=st.booleans())
def test_a_reader_that_comes_back_gets_the_rest_byte_for_byte(entries: list[Entry], end: Entry, cut: int, *, usage: bool) -> None:
    whole = log(STARTED, *entries, end)

    def stream(row: Job, number: int) -> list[bytes]:
        with_silence = [each for event in whole for each in (None, event)]
        written = frames(ChunkTranslation(row, number), with_silence, lambda: over(end[0]), number)
        return [frame for frame in written if frame != KEEP_ALIVE_COMMENT]

    live = stream(job(Status.QUEUED, include_usage=usage), FROM_THE_START)
    late = stream(job(Status.COMPLETED, include_usage=usage), cut)
    numbers = [FROM_THE_START if frame == DONE else orjson.loads(frame[6:])["sequence_number"] for frame in live]
    seen = [frame for frame, number in zip(live, numbers, strict=True) if frame != DONE and number <= cut]
    assert seen + late == live


LOST = [
    events.make(2, 10_001, "restarted", {"attempt": 2, "reason": "log_lost"}),
    events.make(2, 10_002, *says(content="new")),
    events.make(2, 10_003, *COMPLETED),
]
"""What is left of a log whose beginning was lost with its Redis and its owner."""


def _resumed(whole: list[Event], number: int) -> list[dict[str, Any]]:
    written = frames(ChunkTranslation(job(), number), whole, lambda: over("completed"), number)
    return [orjson.loads(frame[6:]) for frame in written if frame != DONE]


def test_what_was_lost_is_not_glued_to_what_came_after() -> None:
    # A reader who saw something of the old answer learns that it broke off
    assert [fields["error"]["code"] for fields in _resumed(LOST, 5)] == ["restarted"]
    assert [fields["error"]["code"] for fields in _resumed([*log(STARTED, says(content="old")), *LOST], 0)[1:]] == ["restarted"]
    # Who comes late sees the new one whole, and may break off in it, too
    whole = _resumed(LOST, FROM_THE_START)
    assert [fields["choices"][0]["delta"].get("content") for fields in whole] == ["", "new", None]
    numbers = [fields["sequence_number"] for fields in whole]
    assert numbers == sorted(set(numbers))
    assert _resumed(LOST, numbers[1]) == whole[2:]


def test_a_database_that_is_away_at_the_end_cuts_the_stream_off() -> None:
    def away() -> Job:
        raise DatabaseUnavailable

    assert _last(says(content="a"), CANCELLED, ended=away)["error"]["code"] == "stream_cut"


def _last(*entries: Entry, ended: Callable[[], Job]) -> dict[str, Any]:
    written = list(frames(ChunkTranslation(job()), log(STARTED, *entries), ended, FROM_THE_START))
    last: dict[str, Any] = orjson.loads(written[-1].removeprefix(b"data: "))
    return last


def test_a_stream_that_is_cut_off_says_so_and_has_no_end() -> None:
    last = _last(says(content="a"), ended=lambda: over("completed"))
    assert (last["error"]["code"], last.get("sequence_number")) == ("stream_cut", None)


@pytest.mark.parametrize("end", [FAILED, CANCELLED])
def test_what_was_deleted_before_its_end_was_told_is_not_found(end: Entry) -> None:
    def deleted() -> Job:
        raise NotFound("There is no such job.")

    assert _last(says(content="a"), end, ended=deleted)["error"]["code"] == "not_found"


def test_what_is_asked_goes_to_the_provider_as_it_is() -> None:
    body = {
        "model": "demo",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ann"},
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "annotations": [],
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": ""},
        ],
        "temperature": 0,
        "max_completion_tokens": 5,
        "n": 1,
        "logprobs": False,
        "stream": True,
        "stream_options": {"include_usage": True},
        "store": True,
        "metadata": {"a": "b"},
        "user": "u",
        "prediction": {"type": "content", "content": "x"},
    }
    asked = submission(ChatRequest.model_validate(body))
    assert asked.messages == [*body["messages"][:2], {"role": "assistant", "tool_calls": [CALL]}, body["messages"][3]]  # type: ignore[index]
    assert asked.parameters == {
        "temperature": 0,
        "max_completion_tokens": 5,
        "user": "u",
        "prediction": {"type": "content", "content": "x"},
    }
    assert (asked.on_interrupt, asked.stored, asked.metadata) == (OnInterrupt.FAIL, True, {"a": "b"})
    assert asked.wire_request == {"stream": True, "include_usage": True}


def test_a_whole_answer_may_begin_anew_and_is_not_stored_unasked() -> None:
    asked = submission(ChatRequest.model_validate({"messages": HELLO}))
    assert (asked.on_interrupt, asked.stored) == (OnInterrupt.RESTART, False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("temperature", value) for value in (-0.1, 2.1, "1")),
        *(("top_p", value) for value in (-0.1, 1.1)),
        *(("presence_penalty", value) for value in (-2.1, 2.1)),
        *(("frequency_penalty", value) for value in (-2.1, 2.1)),
        *(("n", value) for value in (0, 9)),
        ("logprobs", "yes"),
        ("top_logprobs", 21),
        ("modalities", ["audio"]),
        ("audio", {"voice": "x"}),
        ("functions", "x"),
        ("function_call", "auto"),
        ("moderation", {}),
        ("max_tokens", 0),
        ("tool_choice", {"type": "function", "function": {"name": "not there"}}),
        ("tool_choice", "required"),
        ("stop", ["a"] * 5),
        ("messages", []),
        ("messages", [{"role": "nobody", "content": "x"}]),
        ("messages", [{"role": "user"}]),
        ("messages", [{"role": "user", "content": [{"text": "no type"}]}]),
        ("metadata", {"a" * 65: "b"}),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises((ValidationError, InvalidRequest)) as refused:
        ChatRequest.model_validate({"messages": HELLO, field: value})
    if isinstance(refused.value, ValidationError):
        assert {error["loc"][0] for error in refused.value.errors()} == {field}
    elif isinstance(refused.value, InvalidRequest):
        assert str(refused.value.param).startswith(field)


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize("content", ["", []])
def test_an_empty_text_is_a_message_too(role: str, content: Any) -> None:
    body = ChatRequest.model_validate({"messages": [{"role": role, "content": content}]})
    assert submission(body).messages == [{"role": role, "content": content}]


def test_a_tools_message_without_content_is_refused() -> None:
    with pytest.raises(ValidationError, match="a message needs content"):
        ChatRequest.model_validate({"messages": [{"role": "tool", "tool_call_id": "c"}]})


@pytest.mark.parametrize("field", sorted(ChatRequest.model_fields.keys() - {"messages"}))
def test_null_is_as_good_as_nothing(field: str) -> None:
    with_null, without = {"messages": HELLO, field: None}, {"messages": HELLO}
    assert submission(ChatRequest.model_validate(with_null)) == submission(ChatRequest.model_validate(without))
