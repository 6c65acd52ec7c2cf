"""The text of a chat message."""

from shared.json_types import JsonObject


def text_of(message: JsonObject | None) -> str:
    """Return a message's text: its content, or the text parts of it; "" where there is none."""
    content = (message or {}).get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)
