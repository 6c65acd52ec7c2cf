"""Assemble an answer, the assistant's message, from the deltas of a log."""

from collections.abc import Iterable
from typing import Any

from shared.events import DELTA, RESTARTED, Event
from shared.json_types import JsonObject

_JOINED = ("content", "refusal", "reasoning_content", "reasoning")
_LISTED = ("reasoning_details", "annotations", "citations", "images", "thinking_blocks")
BESIDE = (*_JOINED[2:], *_LISTED)
"""What some providers say beside text and calls, and want to see again: thoughts with their signatures, sources, images."""

CALL_TEXTS = {"function": "arguments", "custom": "input"}
"""The field of a tool call that grows, by the call's type."""
_CALL_FIELDS = frozenset(("id", "type", *CALL_TEXTS))


def assemble(events: Iterable[Event], choice: int = 0) -> JsonObject:
    """Assemble the assistant's message from the deltas since the answer last began anew.

    Args:
        events: the log.
        choice: which choice's message, where the answer has several.

    Returns:
        `{"role": "assistant", "content": …}` as in OpenAI's chat completions, with `refusal`, `tool_calls` and what is in `BESIDE`
        where there are any.
    """
    message: JsonObject = {"role": "assistant", "content": None}
    text: dict[str, list[str]] = {}
    lists: dict[str, list[Any]] = {}
    calls: dict[int, JsonObject] = {}
    for event in events:
        if event.type == RESTARTED:
            text, lists, calls = {}, {}, {}
        elif event.type == DELTA:
            fields = event.fields()
            if fields.get("choice", 0) == choice:
                _add(fields["delta"], text, lists, calls)
    message.update((name, "".join(parts)) for name, parts in text.items())
    message.update(lists)
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def needs_its_model(message: JsonObject) -> bool:
    """Return whether a message has something that only the model that said it understands."""
    return any(name in message for name in BESIDE) or any(set(call) - _CALL_FIELDS for call in message.get("tool_calls") or ())


def for_any_model(message: JsonObject) -> JsonObject:
    """Return a message without what only the model that said it understands."""
    plain = {name: value for name, value in message.items() if name not in BESIDE}
    if calls := plain.get("tool_calls"):
        plain["tool_calls"] = [{name: value for name, value in call.items() if name in _CALL_FIELDS} for call in calls]
    return plain


def _add(delta: JsonObject, text: dict[str, list[str]], lists: dict[str, list[Any]], calls: dict[int, JsonObject]) -> None:
    for name in _JOINED:
        if delta.get(name) and isinstance(delta[name], str):
            text.setdefault(name, []).append(delta[name])
    for name in _LISTED:
        if delta.get(name) and isinstance(delta[name], list):
            _extend(lists.setdefault(name, []), delta[name])
    for piece in delta.get("tool_calls") or ():
        _add_call(piece, calls)


def _extend(known: list[Any], news: list[Any]) -> None:
    """Add what is new; some providers send all of a list again each time it grows."""
    has_grown = len(news) > len(known) and news[: len(known)] == known
    known.extend(news[len(known) :] if has_grown else news)


def _add_call(piece: JsonObject, calls: dict[int, JsonObject]) -> None:
    """Add the piece of a tool call: its id and name come once, its arguments in parts."""
    kind = "custom" if "custom" in piece else "function"
    index = piece.get("index") or 0
    call = calls.get(index)
    if call is None:
        call = calls[index] = {"id": "", "type": kind, kind: {"name": "", CALL_TEXTS[kind]: ""}}
    call.update({name: value for name, value in piece.items() if name not in _CALL_FIELDS and name != "index"})
    body: JsonObject = piece.get(kind) or {}
    call["id"] = piece.get("id") or call["id"]
    grown = call[call["type"]]
    grown["name"] += body.get("name") or ""
    grown[CALL_TEXTS[call["type"]]] += body.get(CALL_TEXTS[kind]) or ""
