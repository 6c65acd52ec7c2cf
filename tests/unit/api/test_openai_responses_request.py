"""Requests for responses as a table: what the provider gets, and what is refused by name."""

from typing import Any

import pytest
from pydantic import ValidationError

from api.dialects.openai.responses.request import ResponseRequest, submission
from api.jobs.submission import NEW_CONVERSATION
from shared.errors import InvalidRequest
from shared.models import ObjectType, OnInterrupt

WHO = {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "default": None}}}


def asked(**body: Any) -> Any:
    return submission(ResponseRequest.model_validate({"input": "Hi", **body}), [], NEW_CONVERSATION)


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        ({"temperature": 0, "top_p": 1}, {"temperature": 0, "top_p": 1}),
        ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}},
        ),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": "low", "summary": "detailed"}}, {"reasoning_effort": "low"}),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA}], "tool_choice": {"type": "function", "name": "f"}},
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
        ),
        ({"parallel_tool_calls": True, "tool_choice": "auto"}, {}),  # without tools a provider refuses them
        (
            {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
            {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
        ),
        ({"service_tier": "flex", "truncation": "auto", "max_tool_calls": 3, "include": []}, {"service_tier": "flex"}),
    ],
)
def test_the_provider_is_told_in_the_words_of_chat_completions(body: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert asked(**body).parameters == parameters


def test_what_was_asked_is_kept_in_its_own_words_and_nothing_else() -> None:
    made = asked(instructions="Be brief.", metadata={"a": "b"}, background=True, conversation={"id": "conv_1"}, temperature=1.0)
    assert made.wire_request == {
        "instructions": "Be brief.",
        "background": True,
        "temperature": 1.0,
        "conversation": "conv_1",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
    }
    assert (made.wire, made.system, made.stores_system, made.metadata) == (ObjectType.RESPONSE, "Be brief.", False, {"a": "b"})
    assert made == asked(
        instructions="Be brief.", metadata={"a": "b"}, background=True, conversation={"id": "conv_1"}, temperature=1.0
    )


def test_a_turn_is_kept_in_a_conversation_unless_it_is_not_to_be_stored() -> None:
    turn = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    kept, loose = asked(input=turn), asked(input=turn, store=False)
    assert (kept.turn, kept.messages) == (turn, None)
    assert (loose.turn, loose.messages) == ((), turn)
    assert asked(input=turn, store=False, conversation="conv_1").turn == turn
    assert (kept.stored, loose.stored) == (True, False)


@pytest.mark.parametrize(
    ("body", "on_interrupt"),
    [
        ({}, OnInterrupt.RESTART),
        ({"stream": True}, OnInterrupt.FAIL),
        ({"stream": True, "background": True}, OnInterrupt.RESTART),
        ({"stream": True, "on_interrupt": "restart"}, OnInterrupt.RESTART),
        ({"background": True, "on_interrupt": "fail"}, OnInterrupt.FAIL),
    ],
)
def test_only_what_cannot_be_taken_back_is_not_begun_anew(body: dict[str, Any], on_interrupt: OnInterrupt) -> None:
    assert asked(**body).on_interrupt is on_interrupt


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("top_p", 1.1),
        ("top_logprobs", 1),
        ("max_output_tokens", 0),
        ("max_tool_calls", 0),
        ("text", {"format": {"type": "grammar"}}),
        ("text", {"format": {"type": "json_schema", "name": "n"}}),
        ("reasoning", {"summary": "long"}),
        ("tools", [{"name": "no type"}]),
        ("tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": []}),
        ("tool_choice", {"type": "function", "name": "not there"}),
        ("tool_choice", "required"),
        ("include", ["message.output_text.logprobs"]),
        ("service_tier", "gold"),
        ("truncation", "middle"),
        ("prompt", {"id": "pmpt_1"}),
        ("moderation", {"model": "x"}),
        ("metadata", {str(number): "x" for number in range(17)}),
        ("conversation", ""),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises((ValidationError, InvalidRequest)) as refused:
        asked(**{field: value})
    if isinstance(refused.value, InvalidRequest):
        assert str(refused.value.param).startswith(field)
    elif isinstance(refused.value, ValidationError):
        assert {error["loc"][0] for error in refused.value.errors()} == {field}


@pytest.mark.parametrize("field", sorted(ResponseRequest.model_fields.keys() - {"input"}))
def test_null_is_as_good_as_nothing(field: str) -> None:
    assert asked(**{field: None}) == asked()
