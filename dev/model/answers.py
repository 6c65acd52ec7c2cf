"""The built-in model's answers: numbers when a test orders them, else prose, JSON or a tool call, always the same."""

import re
from functools import lru_cache
from typing import Any

import orjson

from dev.model.request import ModelCall, parts_of, text_of, wrong
from dev.model.schema import minimal
from dev.model.wire import Answer, ToolCall

QUOTED_CHARACTERS = 300
SLICE_CHARACTERS = 6
FLAGGED_WORD = "flagme"

_MODERATION_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_FLAGGED_CATEGORY = "harassment"


def answer(call: ModelCall, call_number: int) -> Answer:
    """Return the model's answer to a call, which is the n-th with its key."""
    whole = _whole_answer(call)
    tokens, reason = whole.tokens, whole.finish_reason
    if call.max_tokens is not None and len(tokens) > call.max_tokens:
        tokens, reason = tokens[: call.max_tokens], "length"
    return Answer(tokens, call.options.finish_reason(call_number) or reason, whole.call)


def moderation_results(body: Any) -> list[dict[str, Any]]:
    """Return a moderation result for each input; one with the word `flagme` is flagged."""
    value = body.get("input") if isinstance(body, dict) else None
    inputs = [value] if isinstance(value, str) else value
    if not isinstance(inputs, list) or not inputs:
        raise wrong("input", "must be a string or a list that is not empty")
    if isinstance(inputs[0], dict):
        inputs = [text_of({"content": inputs})]  # the parts of one input
    return [_moderated(str(text)) for text in inputs]


def _whole_answer(call: ModelCall) -> Answer:
    if call.options.echo:
        return Answer(_words(orjson.dumps(call.messages).decode()))
    if call.options.tokens is not None:
        return Answer(_numbers(call.options.tokens))
    results = [message for message in call.latest if message["role"] == "tool"]
    if results:
        return Answer(_words(_about_results(results)))
    if call.forced_tool is not None:
        arguments = orjson.dumps(minimal(call.tools[call.forced_tool].get("parameters") or {"type": "object"})).decode()
        return Answer(["", *_slices(arguments)], "tool_calls", ToolCall(call.forced_tool))
    if call.response_format.get("type") == "json_schema":
        return Answer(_slices(orjson.dumps(minimal(call.response_format["json_schema"].get("schema"))).decode()))
    if call.response_format.get("type") == "json_object":
        return Answer(_words(orjson.dumps({"answer": _prose(call)}).decode()))
    return Answer(_words(_prose(call)))


def _prose(call: ModelCall) -> str:
    last = call.latest[0]
    text = text_of(last).strip()
    sentences = [f'You said: "{_shortened(text)}".' if text else "You said nothing."]
    images = sum(1 for part in parts_of(last) if part.get("type") == "image_url")
    if images:
        sentences.append(f"You sent {_counted(images, 'image')}, which I can count but not see.")
    if len(call.messages) > 1:
        sentences.append(f"I was shown {len(call.messages)} messages.")
    sentences.append(
        "I am the built-in demo model: I run on this machine, I cost nothing, and I know nothing. "
        "To talk to a real model, set OPENAI_API_KEY (and OPENAI_BASE_URL for another provider than OpenAI), "
        "choose it with DEFAULT_MODEL, and start again."
    )
    return " ".join(sentences)


def _about_results(results: list[dict[str, Any]]) -> str:
    quotes = ", and ".join(f'"{_shortened(text_of(message))}"' for message in results)
    return f"I called {_counted(len(results), 'tool')} and got back: {quotes}. I am the built-in demo model."


def _moderated(text: str) -> dict[str, Any]:
    flagged = FLAGGED_WORD in text.lower()
    bad = _FLAGGED_CATEGORY if flagged else None
    return {
        "flagged": flagged,
        "categories": {name: name == bad for name in _MODERATION_CATEGORIES},
        "category_scores": {name: 0.99 if name == bad else 0.0 for name in _MODERATION_CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in _MODERATION_CATEGORIES},
    }


@lru_cache(maxsize=8)
def _numbers(count: int) -> list[str]:
    return [f"{number} " for number in range(1, count + 1)]


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*", text) or [text]


def _slices(text: str) -> list[str]:
    size = min(SLICE_CHARACTERS, max(1, len(text) // 2))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTED_CHARACTERS else text[:QUOTED_CHARACTERS] + "…"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
