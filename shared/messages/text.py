"""The text of a chat message, and of its calls."""

from shared.json_types import JsonObject


def text_of(message: JsonObject | None) -> str:
    """Return a message's text: its content, or the text parts of it; "" where there is none."""
    content = (message or {}).get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def text_of_calls(message: JsonObject) -> str:
    """Return the names and arguments of a message's tool calls, of whatever type they are."""
    bodies = (call.get("function") or call.get("custom") or {} for call in message.get("tool_calls") or ())
    return "".join(value for body in bodies for value in body.values() if isinstance(value, str))
