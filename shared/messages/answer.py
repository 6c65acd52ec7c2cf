"""Assemble an answer, the assistant's message, from the deltas of a log."""

from collections.abc import Iterable

from shared.events import DELTA, RESTARTED, Event
from shared.json_types import JsonObject

_JOINED = ("content", "refusal")


def assemble(events: Iterable[Event]) -> JsonObject:
    """Assemble the assistant's message from the deltas since the answer last began anew.

    Returns:
        `{"role": "assistant", "content": …}` as in OpenAI's chat completions, with `refusal` and `tool_calls` where there are any.
    """
    message: JsonObject = {"role": "assistant", "content": None}
    text: dict[str, list[str]] = {}
    calls: dict[int, JsonObject] = {}
    for event in events:
        if event.type == RESTARTED:
            text, calls = {}, {}
        elif event.type == DELTA:
            _add(event.fields()["delta"], text, calls)
    message.update((name, "".join(parts)) for name, parts in text.items())
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def _add(delta: JsonObject, text: dict[str, list[str]], calls: dict[int, JsonObject]) -> None:
    for name in _JOINED:
        if delta.get(name):
            text.setdefault(name, []).append(delta[name])
    for call_delta in delta.get("tool_calls") or ():
        _add_call(call_delta, calls)


def _add_call(delta: JsonObject, calls: dict[int, JsonObject]) -> None:
    """Add the delta of a tool call: its id and name come once, its arguments in parts."""
    call = calls.setdefault(delta.get("index") or 0, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    function = delta.get("function") or {}
    call["id"] = delta.get("id") or call["id"]
    call["type"] = delta.get("type") or call["type"]
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""
