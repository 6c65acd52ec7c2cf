"""A response's events: the order that OpenAI's have, numbers without a gap, and the same bytes for every reader."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dialects.openai.items.messages import call_item_id
from api.dialects.openai.responses import object
from api.dialects.openai.responses.events import NUMBERS_PER_EVENT, EventTranslation
from api.dialects.openai.responses.output import MAX_FRAGMENTS
from api.dialects.openai.sse import DONE, FROM_THE_START, KEEP_ALIVE_COMMENT, frames
from shared import events
from shared.errors import NotFound
from shared.events import Event
from shared.models import Job, Status
from tests.open_responses import check_event

HEX = "0123456789abcdef0123456789abcdef"
USAGE = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6, "estimated": False}

STARTED = ("started", {"attempt": 1, "model": "demo"})
RESTARTED = ("restarted", {"attempt": 2, "reason": "worker_lost"})
COMPLETED = ("completed", {"finish_reason": "stop", "usage": USAGE})
CANCELLED = ("cancelled", {"usage": USAGE})
FAILED = ("failed", {"error": {"code": "provider_error", "message": "No."}, "usage": USAGE})

Entry = tuple[str, dict[str, Any]]


def says(text: str) -> Entry:
    return "delta", {"delta": {"content": text}}


def calls(index: int, arguments: str, **named: str) -> Entry:
    function = {"arguments": arguments, **({"name": named["name"]} if named else {})}
    return "delta", {"delta": {"tool_calls": [{"index": index, "function": function, **({"id": named["id"]} if named else {})}]}}


def job(status: Status = Status.IN_PROGRESS, **more: Any) -> Job:
    asked = {"background": True, "input": []}
    row = Job(id=f"job_{HEX}", answer_id=None, model="demo", status=status, created_ms=1_700_000_000_999, labels={"a": "b"})
    row.wire_request, row.usage, row.finished_ms = asked, USAGE if status.is_terminal else None, 1_700_000_005_000
    for name, value in more.items():
        setattr(row, name, value)
    return row


def log(*entries: Entry) -> list[Event]:
    return [events.make(1, seq, kind, fields) for seq, (kind, fields) in enumerate(entries, 1)]


def ending(kind: str) -> Job:
    how = {"error": {"code": "provider_error", "message": "No."}} if kind == "failed" else {}
    return job(Status(kind), finish_reason={"completed": "stop", "incomplete": "length"}.get(kind), **how)


def translated(*entries: Entry, row: Job | None = None) -> list[dict[str, Any]]:
    translation = EventTranslation(row or job())
    whole = list(translation.opening())
    for event in log(*entries):
        whole += translation.translate(event, lambda: ending(event.type))  # noqa: B023 - called at once
    assert [fields["sequence_number"] for fields in whole] == list(range(len(whole)))
    for fields in whole:
        check_event(orjson.loads(orjson.dumps(fields)))
    return whole


def types(whole: list[dict[str, Any]]) -> list[str]:
    return [fields["type"].removeprefix("response.") for fields in whole]


def test_a_text_is_told_in_openais_order() -> None:
    whole = translated(STARTED, says("Hel"), says("lo"), COMPLETED)
    assert types(whole) == [
        "created",
        "queued",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [fields["response"]["status"] for fields in whole[:3]] == ["queued", "queued", "in_progress"]
    assert all(fields["response"]["output"] == [] for fields in whole[:3])
    item = whole[3]["item"]
    assert item == {"id": f"msg_{HEX}", "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    assert [fields["delta"] for fields in whole[5:7]] == ["Hel", "lo"]
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    assert (whole[7]["text"], whole[8]["part"]) == ("Hello", part)
    final = whole[-1]["response"]
    assert final["output"] == [whole[9]["item"]] == [{**item, "status": "completed", "content": [part]}]
    assert (final["status"], final["completed_at"], final["created_at"]) == ("completed", 1_700_000_005, 1_700_000_000)
    assert final["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}


def test_a_foreground_response_was_never_queued() -> None:
    whole = translated(STARTED, says("x"), COMPLETED, row=job(wire_request={"input": []}))
    assert types(whole)[:3] == ["created", "in_progress", "output_item.added"]
    assert whole[0]["response"]["status"] == "in_progress"


def test_function_calls_are_items_of_their_own_and_finished_in_order() -> None:
    whole = translated(
        STARTED,
        says("Let me see."),
        calls(0, '{"a"', id="call_1", name="f"),
        calls(1, "{}", id="call_2", name="g"),
        calls(0, ":1}"),
        COMPLETED,
    )
    done = [fields["item"] for fields in whole if fields["type"] == "response.output_item.done"]
    assert [(item["type"], item["id"]) for item in done] == [
        ("message", f"msg_{HEX}"),
        ("function_call", call_item_id(HEX, "call_1", [])),
        ("function_call", call_item_id(HEX, "call_2", [])),
    ]
    assert [item.get("arguments") for item in done] == [None, '{"a":1}', "{}"]
    assert whole[-1]["response"]["output"] == done
    arguments = [fields for fields in whole if fields["type"] == "response.function_call_arguments.done"]
    assert [(each["name"], each["arguments"], each["output_index"]) for each in arguments] == [("f", '{"a":1}', 1), ("g", "{}", 2)]


def test_long_texts_and_arguments_are_whole() -> None:
    text = [f"{number} " for number in range(3 * MAX_FRAGMENTS)]
    arguments = [calls(0, piece, **({"id": "c", "name": "f"} if piece == text[0] else {})) for piece in text]
    final = translated(STARTED, *map(says, text), *arguments, COMPLETED)[-1]["response"]["output"]
    assert [final[0]["content"][0]["text"], final[1]["arguments"]] == ["".join(text)] * 2


def test_a_refusal_is_a_part_of_its_own() -> None:
    whole = translated(
        STARTED, says("Well. "), ("delta", {"delta": {"refusal": "I will "}}), ("delta", {"delta": {"refusal": "not."}}), COMPLETED
    )
    assert [part["type"] for part in whole[-1]["response"]["output"][0]["content"]] == ["output_text", "refusal"]
    assert [fields["refusal"] for fields in whole if fields["type"] == "response.refusal.done"] == ["I will not."]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_are_an_item_before_the_message(name: str) -> None:
    whole = translated(STARTED, ("delta", {"delta": {name: "Hm."}}), says("Yes."), COMPLETED)
    thought, message = whole[-1]["response"]["output"]
    assert (thought["type"], thought["id"], thought["summary"]) == ("reasoning", f"rs_{HEX}_0", [])
    assert thought["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert (message["type"], message["id"]) == ("message", f"msg_{HEX}_1")
    assert "reasoning_text.done" in types(whole)


def test_an_answer_that_begins_anew_goes_on_in_a_new_item_and_the_old_one_is_no_output() -> None:
    whole = translated(STARTED, says("1 2 "), RESTARTED, says("1 2 3 "), COMPLETED)
    assert types(whole).count("in_progress") == 1
    added = [fields for fields in whole if fields["type"] == "response.output_item.added"]
    assert [(each["output_index"], each["item"]["id"]) for each in added] == [(0, f"msg_{HEX}"), (1, f"msg_{HEX}_1")]
    broken = next(fields["item"] for fields in whole if fields["type"] == "response.output_item.done")
    assert (broken["status"], broken["content"][0]["text"]) == ("incomplete", "1 2 ")
    output = whole[-1]["response"]["output"]
    assert [item["id"] for item in output] == [f"msg_{HEX}_1"]
    assert output[0]["content"][0]["text"] == "1 2 3 "
    # A text that was broken off is not said to be done: the SDK would parse it where a format was asked for
    assert [fields["text"] for fields in whole if fields["type"] == "response.output_text.done"] == ["1 2 3 "]


def test_a_restart_that_follows_no_text_is_not_told() -> None:
    assert translated(STARTED, RESTARTED, says("x"), COMPLETED) == translated(STARTED, says("x"), COMPLETED)


@pytest.mark.parametrize(
    ("end", "last", "status"),
    [
        (CANCELLED, ["response.cancelled"], "cancelled"),
        (FAILED, ["error", "response.failed"], "failed"),
        (("incomplete", {"finish_reason": "length", "usage": USAGE}), ["response.incomplete"], "incomplete"),
    ],
)
def test_other_ends_keep_the_text_so_far(end: Entry, last: list[str], status: str) -> None:
    whole = translated(STARTED, says("so far"), end)
    assert [fields["type"] for fields in whole][-len(last) :] == last
    final = whole[-1]["response"]
    assert (final["status"], final["completed_at"]) == (status, None)
    assert (final["output"][0]["status"], final["output"][0]["content"][0]["text"]) == ("incomplete", "so far")
    assert (final["error"] is not None) == (status == "failed")
    assert (final["incomplete_details"] is not None) == (status == "incomplete")


def test_a_response_that_was_cancelled_in_the_queue_has_no_output() -> None:
    whole = translated(CANCELLED)
    assert types(whole) == ["created", "queued", "cancelled"]
    assert whole[-1]["response"]["output"] == []


def test_after_the_one_jump_everybody_is_told_the_same_numbers() -> None:
    jump = events.make(2, 10_003, "restarted", {"attempt": 2, "reason": "log_lost"})
    after = [events.make(2, 10_004, *says("1 ")), events.make(2, 10_005, *COMPLETED)]

    def numbers(before: list[Event]) -> list[int]:
        translation = EventTranslation(job())
        list(translation.opening())
        for event in before:
            list(translation.translate(event, job))
        return [
            fields["sequence_number"] for event in after for fields in translation.translate(event, lambda: ending("completed"))
        ]

    early, late = numbers([*log(STARTED, says("1 "), says("2 ")), jump]), numbers([jump])
    assert early == late
    assert early[0] == NUMBERS_PER_EVENT * 10_003


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "provider_error", "message": "x"}, "server_error"),
        ({"code": "x", "message": "x", "provider_status": 429}, "rate_limit_exceeded"),
        ({"code": "context_length_exceeded", "message": "x", "provider_status": 400}, "invalid_prompt"),
        ({"code": "content_flagged", "message": "x"}, "invalid_prompt"),
        ({"code": "deadline_exceeded", "message": "x"}, "server_error"),
    ],
)
def test_a_failure_has_one_of_the_few_codes_and_its_cause_in_words(error: dict[str, Any], code: str) -> None:
    whole = object.shown(job(Status.FAILED, error=error), log(STARTED))
    assert whole["error"]["code"] == code
    assert error["code"] in whole["error"]["message"]


def test_what_was_asked_is_told_back_and_the_rest_has_openais_defaults() -> None:
    asked = {
        "instructions": "Be brief.",
        "temperature": 0.0,
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "text": {"verbosity": "low"},
        "conversation": "conv_1",
        "max_output_tokens": None,
        "input": [{"secret": 1}],
    }
    shown = object.shown(job(Status.QUEUED, wire_request=asked), [])
    assert (shown["instructions"], shown["temperature"], shown["top_p"], shown["metadata"]) == ("Be brief.", 0.0, 1.0, {"a": "b"})
    assert shown["tools"] == [{"type": "function", "name": "f", "parameters": {}, "description": None, "strict": None}]
    assert shown["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert shown["conversation"] == {"id": "conv_1"}
    assert "input" not in shown


def test_what_is_shown_of_a_running_response_is_what_it_has_said_so_far() -> None:
    shown = object.shown(job(), log(STARTED, says("old"), RESTARTED, says("so "), says("far")))
    assert (shown["status"], shown["usage"]) == ("in_progress", None)
    assert [(item["status"], item["content"][0]["text"]) for item in shown["output"]] == [("in_progress", "so far")]


_SAID = st.lists(
    st.one_of(
        st.sampled_from(["a", "bc ", "💬"]).map(says),
        st.sampled_from([calls(0, "{", id="call_1", name="f"), calls(1, "1", id="call_2", name="g"), RESTARTED]),
        st.just(("delta", {"delta": {"refusal": "no"}})),
        st.just(("delta", {"delta": {"reasoning_content": "hm"}})),
    ),
    max_size=12,
)


@given(
    entries=_SAID,
    end=st.sampled_from([COMPLETED, CANCELLED, FAILED]),
    cut=st.integers(FROM_THE_START, 60),
    in_background=st.booleans(),
)
def test_a_reader_that_comes_back_gets_the_rest_byte_for_byte(
    entries: list[Entry], end: Entry, cut: int, *, in_background: bool
) -> None:
    whole = log(STARTED, *entries, end)
    asked = {"background": in_background, "input": []}

    def stream(row: Job, number: int) -> list[bytes]:
        return list(frames(EventTranslation(row), _with_silence(whole), lambda: _asked(ending(end[0]), asked), number))

    live = [frame for frame in stream(_asked(job(Status.QUEUED), asked), FROM_THE_START) if frame != KEEP_ALIVE_COMMENT]
    late = [frame for frame in stream(_asked(ending(end[0]), asked), cut) if frame != KEEP_ALIVE_COMMENT]
    seen = [frame for frame in live if frame != DONE and orjson.loads(frame.split(b"data: ", 1)[1])["sequence_number"] <= cut]
    assert seen + late == live
    # And what is shown at the end is what the last event holds
    told_last = orjson.loads(live[-2].split(b"data: ", 1)[1])["response"]
    shown = orjson.loads(orjson.dumps(object.shown(_asked(ending(end[0]), asked), whole)))
    assert told_last == shown


@pytest.mark.parametrize(("entries", "code"), [((), "stream_cut"), ((COMPLETED,), "not_found"), ((CANCELLED,), "not_found")])
def test_a_stream_that_is_cut_off_or_deleted_says_so(entries: tuple[Entry, ...], code: str) -> None:
    def deleted() -> Job:
        raise NotFound("There is no such job.")

    *before, last = list(frames(EventTranslation(job()), log(STARTED, says("a"), *entries), deleted, FROM_THE_START))
    assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"] == code
    assert DONE not in before


def _with_silence(whole: list[Event]) -> Iterator[Event | None]:
    for event in whole:
        yield event
        yield None


def _asked(row: Job, asked: dict[str, Any]) -> Job:
    row.wire_request = asked
    return row
