"""What providers send that is almost OpenAI's wire, in OpenAI's words."""

from typing import Any

import orjson

from shared.json_types import JsonObject
from workers.providers.base import COUNTS

MAX_COUNT = 2**31 - 1
"""Of tokens, or of a tool call's index: sums of more would fit no column."""

TEXTS = ("content", "refusal")
"""What of a delta must be text."""

_REASONS = {
    "stop": ("end_turn", "eos", "eos_token", "stop_sequence", "complete", "finished"),
    "length": ("max_tokens", "max_output_tokens", "model_length", "token_limit"),
    "content_filter": ("safety", "sensitive", "recitation", "blocklist", "prohibited_content", "spii", "content_filtered"),
    "tool_calls": ("tool_use", "tool_call"),
}
_WORDS = {word: reason for reason, words in _REASONS.items() for word in (reason, *words)}
"""What others say for OpenAI's finish reasons, in small letters."""

FAULTS = frozenset(
    (
        "error",
        "network_error",
        "insufficient_system_resource",
        "malformed_function_call",
        "server_error",
        "abort",
        "aborted",
        "timeout",
    )
)
"""What some providers give as a finish reason although the answer has not come to its end, in small letters."""


def finish_reason(reason: str) -> str:
    """Return a finish reason in OpenAI's words; one that is not known stays as it is."""
    return _WORDS.get(reason.lower(), reason)


def usage_of(usage: Any) -> JsonObject | None:
    """Return a usage whose counts are integers, and that has a total; None for one that makes no sense, so that it is estimated.

    Some providers send floats, nulls, or no total.
    """
    if not isinstance(usage, dict) or not usage:
        return None
    counts = {name: _count(usage[name]) for name in COUNTS if usage.get(name) is not None}
    if None in counts.values():
        return None
    total = sum(counts[name] or 0 for name in COUNTS[:2] if name in counts)
    return {**{name: value for name, value in usage.items() if name not in COUNTS}, "total_tokens": total, **counts}


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    return int(value) if is_count and int(value) == value else None


def error_of(fields: Any) -> Any:
    """Return the error that a provider sent in place of a chunk; None where it sent a chunk.

    Google's come in a list; others have no `error`, but are one: `{"object": "error", …}`, `{"detail": …}`, `{"message": …}`.
    """
    if isinstance(fields, list):
        return next((error for part in fields if isinstance(part, dict) and (error := error_of(part)) is not None), None)
    if not isinstance(fields, dict) or fields.get("choices"):
        return (fields.get("error") or None) if isinstance(fields, dict) else None
    is_error = fields.get("object") == "error" or any(fields.get(name) for name in ("detail", "message"))
    return fields.get("error") or (fields if is_error else None)


def delta_of(choice: JsonObject) -> Any:
    """Return a choice's delta; of some providers it is called `message`, or is just a `text`."""
    if choice.get("delta") is not None:
        return choice["delta"]
    if choice.get("message") is not None:
        return choice["message"]
    return {"content": choice["text"]} if choice.get("text") else None


def plain_delta(delta: Any) -> Any:
    """Return a delta with its text in one piece, and with calls whose index is a number and whose arguments are text.

    What is not understood stays as it is.
    """
    if not isinstance(delta, dict):
        return delta
    plain = dict(delta)
    if isinstance(content := delta.get("content"), list) and all(isinstance(part, dict) for part in content):
        plain["content"] = _text(content, "text")
        if thought := _text(content, "thinking"):
            plain["reasoning_content"] = f"{delta.get('reasoning_content') or ''}{thought}"
    if isinstance(calls := delta.get("tool_calls"), list):
        plain["tool_calls"] = [_plain_call(call) if isinstance(call, dict) else call for call in calls]
    return plain


def _text(parts: list[JsonObject], kind: str) -> str:
    """Return the text of the parts of a kind; Mistral's `thinking` holds parts itself."""
    texts = []
    for part in parts:
        if part.get("type") == kind:
            inner = part.get(kind) or ""
            texts.append(_text(inner, "text") if isinstance(inner, list) else str(inner))
    return "".join(texts)


def _plain_call(call: JsonObject) -> JsonObject:
    plain = dict(call)
    if isinstance(index := call.get("index"), str) and index.isdecimal():
        plain["index"] = int(index)
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
        plain["function"] = {**function, "arguments": orjson.dumps(function["arguments"]).decode()}
    return plain
