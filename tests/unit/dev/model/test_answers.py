"""What the built-in model answers: sentences, JSON, tool calls, token by token."""

import json
import time
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from dev.testing.client import counted
from tests.unit.dev.model.server import finish_of, message, streamed, text_of, whole

WEATHER_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}
CLOCK_TOOL: Any = {"type": "function", "function": {"name": "get_time"}}


def test_the_demo_model_answers_in_sentences_token_by_token(client: OpenAI, text: str) -> None:
    chunks = streamed(client, "demo?gap_ms=1&first_ms=0", text)
    assert text in text_of(chunks)
    assert "built-in" in text_of(chunks)
    assert "OPENAI_API_KEY" in text_of(chunks)
    assert len(chunks) > 20
    assert text_of(whole(client, "demo?gap_ms=0&first_ms=0", text)) == text_of(chunks)


def test_plain_demo_takes_its_time_but_not_long(client: OpenAI, text: str) -> None:
    started = time.monotonic()
    assert streamed(client, "demo", text, max_tokens=5)
    assert 0.15 < time.monotonic() - started < 5


def test_it_tells_what_it_was_shown(client: OpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [{"type": "text", "text": "Look here"}, image, image]
    messages = [message("user", "First"), message("assistant", "Yes?"), message("user", content)]
    answer = client.chat.completions.create(model="demo?gap_ms=0&first_ms=0", messages=messages)
    for expected in ("Look here", "2 images", "3 messages"):
        assert expected in text_of(answer)
    assert "First" not in text_of(answer)


@pytest.mark.parametrize("at", [0, 1])
def test_a_blind_model_refuses_every_image(client: OpenAI, at: int) -> None:
    messages = [message("user", "One"), message("user", "Two")]
    assert client.chat.completions.create(model="demo?vision=0&gap_ms=0&first_ms=0", messages=messages)
    image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    messages[at] = message("user", [{"type": "text", "text": "Look"}, image])
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="demo?vision=0&gap_ms=0&first_ms=0", messages=messages)
    assert refused.value.param == f"messages[{at}].content"
    assert "cannot see" in str(refused.value)


def test_echo_answers_what_it_was_shown(client: OpenAI) -> None:
    messages = [message("system", "Be brief."), message("user", [{"type": "text", "text": "Süß, 100 %?"}])]
    chunks = streamed(client, "demo?echo=1&gap_ms=0&first_ms=0&clock=1", "", messages=messages)
    assert json.loads(text_of(chunks)) == messages


def test_json_mode_answers_json(client: OpenAI, text: str) -> None:
    answer = whole(client, "demo?gap_ms=0&first_ms=0", text, response_format={"type": "json_object"})
    assert text in json.loads(text_of(answer))["answer"]


class City(BaseModel):
    name: str
    population: int
    sister: "City | None"


def test_structured_output_satisfies_the_schema(client: OpenAI, text: str) -> None:
    answer = client.chat.completions.parse(model="demo?gap_ms=0&first_ms=0", messages=[message("user", text)], response_format=City)
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    assert (parsed.name, parsed.population) == ("demo", 0)


def test_a_limit_cuts_the_answer(client: OpenAI, text: str) -> None:
    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        for ask in (whole, streamed):
            answer: Any = ask(client, "demo?tokens=5&gap_ms=0&first_ms=0", text, **limit)
            assert (text_of(answer), finish_of(answer)) == (counted(3), "length")
    exact = whole(client, "demo?tokens=5&gap_ms=0&first_ms=0", text, max_tokens=5)
    assert (text_of(exact), finish_of(exact)) == (counted(5), "stop")


def test_a_tool_is_called_in_pieces(client: OpenAI, text: str) -> None:
    chunks = streamed(client, "demo?gap_ms=1&first_ms=0", text, tools=[WEATHER_TOOL])
    pieces = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    functions = [piece.function for piece in pieces if piece.function is not None]
    assert [piece.id is not None for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [function.name for function in functions] == ["get_weather"] + [None] * (len(pieces) - 1)
    assert json.loads("".join(function.arguments or "" for function in functions)) == {"city": "demo", "days": 1}
    assert len(pieces) > 3
    assert finish_of(chunks) == "tool_calls"


def test_a_tool_is_called_in_a_whole_answer(client: OpenAI, text: str) -> None:
    answer = whole(client, "demo?gap_ms=0&first_ms=0", text, tools=[WEATHER_TOOL])
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert (answer.choices[0].message.content, finish_of(answer)) == (None, "tool_calls")


def test_tool_choice_is_honoured(client: OpenAI, text: str) -> None:
    options: dict[str, Any] = {"tools": [WEATHER_TOOL, CLOCK_TOOL]}
    forced = {"type": "function", "function": {"name": "get_time"}}
    calls = whole(client, "demo?gap_ms=0&first_ms=0", text, tool_choice=forced, **options).choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert (calls[0].function.name, calls[0].function.arguments) == ("get_time", "{}")
    assert text in text_of(whole(client, "demo?gap_ms=0&first_ms=0", text, tool_choice="none", **options))
    with pytest.raises(openai.BadRequestError) as refused:
        whole(client, "demo", text, tool_choice={"type": "function", "function": {"name": "nothing"}}, **options)
    assert refused.value.param == "tool_choice"


def test_tool_results_are_quoted(client: OpenAI, text: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [message("user", text), {"role": "assistant", "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_call_id": "c1", "content": "18 degrees"})
    chunks = streamed(client, "demo?gap_ms=0&first_ms=0", "", messages=messages, tools=[WEATHER_TOOL])
    assert "18 degrees" in text_of(chunks)
    assert finish_of(chunks) == "stop"
    again = [*messages, message("assistant", "18"), message("user", "And tomorrow?")]
    assert finish_of(streamed(client, "demo?gap_ms=0&first_ms=0", "", messages=again, tools=[WEATHER_TOOL])) == "tool_calls"
