"""What some clients ask for besides one chat completion: several choices, logprobs, completions of a prompt, embeddings."""

from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.acceptance.wire.shapes import A_SURE, B_SURE, CALLING, EMBEDDING, NO_VECTORS, PLAIN, SURE
from tests.scripted_provider import ScriptedProvider

USER: Any = [{"role": "user", "content": "Hello"}]
TRIPLE = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}


def test_several_choices_are_one_answer_with_one_usage(api: OpenAI, provider: ScriptedProvider) -> None:
    before = provider.calls[SURE]
    whole = api.chat.completions.create(model=SURE, messages=USER, n=3)

    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert [(choice.message.content, choice.finish_reason) for choice in whole.choices] == [("Hello", "length")] * 3
    assert whole.usage is not None
    assert whole.usage.model_dump(include=set(TRIPLE)) == TRIPLE
    assert provider.calls[SURE] == before + 3
    assert "n" not in provider.asked[SURE][-1]


def test_several_choices_are_streamed(api: OpenAI) -> None:
    stream = api.chat.completions.create(model=SURE, messages=USER, n=2, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)

    texts, ends = {0: "", 1: ""}, {}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.delta.content or ""
        ends[choice.index] = choice.finish_reason
    assert (texts, ends) == ({0: "Hello", 1: "Hello"}, {0: "length", 1: "length"})
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10


def test_a_stored_answer_keeps_its_choices(api: OpenAI) -> None:
    made = api.chat.completions.create(model=SURE, messages=USER, n=2, logprobs=True, store=True)

    assert api.chat.completions.retrieve(made.id).choices == made.choices


@pytest.mark.parametrize("more", [{}, {"n": 2}], ids=["one", "two"])
def test_logprobs_are_shown(api: OpenAI, provider: ScriptedProvider, more: dict[str, Any]) -> None:
    whole = api.chat.completions.create(model=SURE, messages=USER, logprobs=True, top_logprobs=2, **more)
    for choice in whole.choices:
        assert choice.logprobs is not None
        assert [token.model_dump() for token in choice.logprobs.content or []] == [A_SURE, B_SURE]
    assert (provider.asked[SURE][-1]["logprobs"], provider.asked[SURE][-1]["top_logprobs"]) == (True, 2)

    stream = api.chat.completions.create(model=SURE, messages=USER, logprobs=True, stream=True, **more)
    shown = [choice.logprobs for chunk in stream for choice in chunk.choices if choice.logprobs]
    tokens = [token.model_dump() for each in shown for token in each.content or []]
    assert tokens == [A_SURE, B_SURE] * len(whole.choices)


@pytest.mark.parametrize("prompt", ["Hello", ["Hello"]])
def test_a_prompt_is_completed(api: OpenAI, provider: ScriptedProvider, prompt: Any) -> None:
    whole = api.completions.create(model=SURE, prompt=prompt, max_tokens=7, n=2)

    assert (whole.object, [choice.text for choice in whole.choices]) == ("text_completion", ["Hello", "Hello"])
    assert whole.id.startswith("cmpl-")
    assert whole.usage is not None
    asked = provider.asked[SURE][-1]
    assert (asked["messages"], asked["max_tokens"]) == (USER, 7)


def test_a_prompts_completion_is_streamed(api: OpenAI) -> None:
    chunks = list(api.completions.create(model=SURE, prompt="Hello", stream=True, stream_options={"include_usage": True}))

    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "Hello"
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert [choice.finish_reason for chunk in chunks[-2:] for choice in chunk.choices] == ["length"]
    assert chunks[-1].usage is not None


@pytest.mark.parametrize("field", ["echo", "suffix", "best_of", "prompt"])
def test_what_no_chat_completion_can_do_for_a_prompt_is_refused(api: OpenAI, field: str) -> None:
    odd: Any = {"echo": True, "suffix": "x", "best_of": 3, "prompt": [1, 2]}
    with pytest.raises(openai.BadRequestError) as refused:
        api.completions.create(**{"model": PLAIN, "prompt": "Hello", field: odd[field]})
    assert str(refused.value.param).startswith(field)


@pytest.mark.parametrize(
    ("input_", "more"),
    [
        ("Hello", {"encoding_format": "float"}),
        (["Hello", "you"], {"encoding_format": "float", "dimensions": 2}),
        ([1, 2, 3], {"encoding_format": "float"}),
        ([[1, 2], [3]], {"encoding_format": "float"}),
        ("Hello", {}),
    ],
)
def test_an_input_is_embedded(api: OpenAI, provider: ScriptedProvider, input_: Any, more: dict[str, Any]) -> None:
    listed = api.embeddings.create(model=EMBEDDING, input=input_, **more)

    assert listed.data[0].embedding == [0.5, -0.25]
    assert listed.usage.prompt_tokens == 2
    asked = provider.asked[EMBEDDING][-1]
    assert asked["input"] == input_
    assert {name: asked[name] for name in more} == more


def test_what_cannot_be_embedded_is_told(api: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="No such input"):
        api.embeddings.create(model=NO_VECTORS, input="Hello")
    odd: list[Any] = ["", [], [[]], {"a": 1}]
    for wrong in odd:
        with pytest.raises(openai.BadRequestError) as refused:
            api.embeddings.create(model=EMBEDDING, input=wrong)
        assert str(refused.value.param).startswith("input")


FUNCTION = {"name": "get_time", "description": "The time", "parameters": {"type": "object"}}


def test_functions_are_tools_to_the_provider_and_functions_to_the_client(api: OpenAI, provider: ScriptedProvider) -> None:
    provider.calls[CALLING] = 0
    asked: Any = {"model": CALLING, "functions": [FUNCTION], "function_call": {"name": "get_time"}}
    whole = api.chat.completions.create(messages=USER, **asked)

    message = whole.choices[0].message
    assert (whole.choices[0].finish_reason, message.tool_calls) == ("function_call", None)
    assert message.function_call is not None
    assert (message.function_call.name, message.function_call.arguments) == ("get_time", "{}")
    sent = provider.asked[CALLING][-1]
    assert sent["tools"] == [{"type": "function", "function": FUNCTION}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "get_time"}}

    result = {"role": "function", "name": "get_time", "content": "noon"}
    history: Any = [*USER, {"role": "assistant", "content": None, "function_call": message.function_call.model_dump()}, result]
    api.chat.completions.create(model=CALLING, messages=history)
    call, sent_result = provider.asked[CALLING][-1]["messages"][1:]
    assert call["tool_calls"] == [{"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}]
    assert sent_result == {"role": "tool", "tool_call_id": "call_1", "content": "noon"}


def test_functions_are_streamed(api: OpenAI, provider: ScriptedProvider) -> None:
    provider.calls[CALLING] = 0
    asked: Any = {"model": CALLING, "functions": [FUNCTION]}
    choices = [chunk.choices[0] for chunk in api.chat.completions.create(messages=USER, stream=True, **asked)]

    pieces = [choice.delta.function_call for choice in choices if choice.delta.function_call]
    assert "".join(piece.name or "" for piece in pieces) == "get_time"
    assert "".join(piece.arguments or "" for piece in pieces) == "{}"
    assert choices[-1].finish_reason == "function_call"
