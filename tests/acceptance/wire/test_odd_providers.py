"""Each shape of `shapes.py`, by each way of reading it: whole, streamed, as a response, and as a job's stored message."""

from dataclasses import replace
from typing import Any

import httpx2
import pytest
from openai import APIError, APIStatusError, OpenAI

from dev.testing.client import Client
from tests.acceptance.wire.shapes import OTHER, SHAPES, Answer, Failure
from tests.scripted_provider import ScriptedProvider

ANSWERS = [name for name, (_, expected) in SHAPES.items() if isinstance(expected, Answer)]
FAILURES = [name for name, (_, expected) in SHAPES.items() if isinstance(expected, Failure)]
BREAKS_AFTER_TEXT = ("an empty reason and the end",)
"""What was streamed cannot be taken back."""
USER: Any = [{"role": "user", "content": "Hello"}]


def expected_answer(name: str) -> Answer:
    expected = SHAPES[name][1]
    assert isinstance(expected, Answer)
    return expected


def calls_of(message: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    calls = message.get("tool_calls") or []
    assert all(call["id"] for call in calls)
    return tuple((call["function"]["name"], call["function"]["arguments"]) for call in calls)


def check(message: dict[str, Any], expected: Answer) -> None:
    assert (message.get("content") or None, calls_of(message)) == (expected.content, expected.calls)
    assert {name: message.get(name) for name in expected.more} == expected.more
    for call in message.get("tool_calls") or []:
        assert {name: call.get(name) for name in expected.beside_call} == expected.beside_call


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_as_a_whole(api: OpenAI, provider: ScriptedProvider, name: str) -> None:
    expected, model = expected_answer(name), f"{name}, whole"

    answer = api.chat.completions.create(model=model, messages=USER)

    assert answer.choices[0].finish_reason == expected.finish_reason
    check(answer.choices[0].message.model_dump(), expected)
    assert provider.calls[model] == expected.tries


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_as_a_stream(api: OpenAI, name: str) -> None:
    expected, model = expected_answer(name), f"{name}, streamed"
    stream = api.chat.completions.create(model=model, messages=USER, stream=True)
    if name in BREAKS_AFTER_TEXT:
        with pytest.raises(APIError):
            list(stream)
        return
    message: dict[str, Any] = {}
    for chunk in stream:
        for name_, value in chunk.choices[0].delta.model_dump(exclude_none=True).items():
            message[name_] = message.get(name_, "" if isinstance(value, str) else []) + value
    assert chunk.choices[0].finish_reason == expected.finish_reason
    calls: dict[int, dict[str, Any]] = {}
    for piece in message.get("tool_calls", []):
        call = calls.setdefault(piece["index"], {**piece, "function": {"name": "", "arguments": ""}})
        for part in ("name", "arguments"):
            call["function"][part] += piece["function"].get(part) or ""
    message["tool_calls"] = list(calls.values())
    texts = {part: value for part, value in expected.more.items() if part != "citations"}  # which come again each time they grow
    check(message, replace(expected, more=texts))


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_as_a_response_and_its_calls_in_the_next_turn(api: OpenAI, provider: ScriptedProvider, name: str) -> None:
    expected, model = expected_answer(name), f"{name}, response"

    answer = api.responses.create(model=model, input="Hello")

    calls = [item for item in answer.output if item.type == "function_call"]
    assert (answer.output_text or None, tuple((call.name, call.arguments) for call in calls)) == (expected.content, expected.calls)
    if calls:
        outputs: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "ok"} for call in calls]
        api.responses.create(model=model, input=outputs, previous_response_id=answer.id)
        _, sent_back, *results = provider.asked[model][-1]["messages"]
        assert [call["id"] for call in sent_back["tool_calls"]] == [result["tool_call_id"] for result in results]
        check(sent_back, expected)


@pytest.mark.parametrize("name", [name for name in ANSWERS if expected_answer(name).more])
def test_what_is_beside_the_text_goes_back_to_its_model_only(client: Client, provider: ScriptedProvider, name: str) -> None:
    expected, model = expected_answer(name), f"{name}, job"
    first = client.submit("Hello", model=model)
    client.finished(first["id"])

    check(client.job(first["id"])["message"], expected)
    for second in (model, OTHER):
        client.finished(client.submit("And?", model=second, conversation_id=first["conversation_id"])["id"])

    check(provider.asked[model][-1]["messages"][1], expected)
    assert not set(expected.more) & set(provider.asked[OTHER][-1]["messages"][1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_keeps_its_words_and_its_status(api: OpenAI, provider: ScriptedProvider, name: str, *, stream: bool) -> None:
    expected, model = SHAPES[name][1], f"{name}, {'streamed' if stream else 'whole'}"
    assert isinstance(expected, Failure)

    if stream and b"Hel" in SHAPES[name][0][0]:  # what was shown is no HTTP status any more
        with pytest.raises(APIError, match=expected.words):
            list(api.chat.completions.create(model=model, messages=USER, stream=True))
        return
    with pytest.raises(APIStatusError) as caught:
        api.chat.completions.create(model=model, messages=USER, stream=stream)

    assert (caught.value.status_code, caught.value.code) == (expected.status, expected.code)
    assert expected.words in caught.value.message
    assert "<" not in caught.value.message.replace("<!", "")
    assert provider.calls[model] == expected.tries
    response: httpx2.Response = caught.value.response
    if expected.status == 429 and "insufficient" not in expected.code:
        assert response.headers["retry-after"] == "1"


def test_a_refusal_of_the_usage_is_remembered(api: OpenAI, provider: ScriptedProvider) -> None:
    model = "the usage not to be asked, job"
    answers = [api.chat.completions.create(model=model, messages=USER) for _ in range(2)]

    assert ["stream_options" in asked for asked in provider.asked[model]] == [True, False, False]
    assert [(answer.usage.model_extra or {}).get("estimated") for answer in answers if answer.usage] == [True, True]
