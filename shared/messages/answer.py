"""What the deltas of a log add up to: the assistant's message, and an estimate of its tokens."""

from collections.abc import Iterable, Sequence
from typing import Any

from shared.events import DELTA, RESTARTED, Event

CHARS_PER_TOKEN = 4
"""A rule of thumb for English text; only for what no provider has counted."""

_JOINED = ("content", "refusal")


def assemble(events: Iterable[Event]) -> dict[str, Any]:
    """Put together the assistant's message: what was said since the answer last began anew.

    Returns:
        `{"role": "assistant", "content": …}` as in OpenAI's chat completions, with `refusal` and `tool_calls` where there are any.
    """
    message: dict[str, Any] = {"role": "assistant", "content": None}
    text: dict[str, list[str]] = {}
    calls: dict[int, dict[str, Any]] = {}
    for event in events:
        if event.type == RESTARTED:
            text, calls = {}, {}
        elif event.type == DELTA:
            _add(event.fields()["delta"], text, calls)
    message.update((name, "".join(parts)) for name, parts in text.items())
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def _add(delta: dict[str, Any], text: dict[str, list[str]], calls: dict[int, dict[str, Any]]) -> None:
    for name in _JOINED:
        if delta.get(name):
            text.setdefault(name, []).append(delta[name])
    for piece in delta.get("tool_calls") or ():
        _add_call(piece, calls)


def _add_call(piece: dict[str, Any], calls: dict[int, dict[str, Any]]) -> None:
    """Add a piece of a tool call: the id and the name come once, the arguments in pieces."""
    call = calls.setdefault(piece.get("index") or 0, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    function = piece.get("function") or {}
    call["id"] = piece.get("id") or call["id"]
    call["type"] = piece.get("type") or call["type"]
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def text_of(message: dict[str, Any] | None) -> str:
    """Tell a message's text: its content, or the text parts of it."""
    content = (message or {}).get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def estimate_tokens(text: str) -> int:
    """Guess how many tokens a text is, by its length."""
    return -(-len(text) // CHARS_PER_TOKEN)


def estimated_usage(prompt: Sequence[dict[str, Any]], message: dict[str, Any]) -> dict[str, Any]:
    """Guess the usage that no provider told; marked as a guess."""
    prompt_tokens = sum(estimate_tokens(text_of(part)) for part in prompt)
    calls = "".join(call["function"]["name"] + call["function"]["arguments"] for call in message.get("tool_calls", ()))
    completion_tokens = estimate_tokens(text_of(message) + (message.get("refusal") or "") + calls)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "estimated": True,
    }
