"""What an agent is asked: it remembers its own conversation, so within one it is sent the newest message alone."""

import uuid
from typing import Any

from workers.providers.base import AgentPosition, CompletionRequest

IMAGE = "[image]"


def wanted_agent(position: AgentPosition) -> str | None:
    """Name the agent whose conversation this goes on; None where there is none to go on."""
    origin = position.origin or {}
    agent: str | None = origin.get("agent") if origin.get("conversation_id") else None
    return agent


def request(question: CompletionRequest) -> dict[str, str]:
    """Put the question into the agents' words (`shared.asks.REQUEST_FIELDS`); ids that nobody gave are made up."""
    position = question.position
    origin = position.origin or {}
    goes_on = wanted_agent(position) is not None
    return {
        "message_id": position.message_id or str(uuid.uuid4()),
        "conversation_id": origin["conversation_id"] if goes_on else "",
        "parent_id": position.parent_id or (goes_on and origin.get("response_id")) or str(uuid.uuid4()),
        "content": readable(question.messages[-1]) if goes_on else whole(question.messages),
    }


def whole(messages: list[dict[str, Any]]) -> str:
    """Write a conversation as one text. A message that is alone is its own text; else each is told by its role."""
    if len(messages) == 1:
        return readable(messages[0])
    return "\n\n".join(f"{message['role'].capitalize()}: {readable(message)}" for message in messages)


def readable(message: dict[str, Any]) -> str:
    """Write a message as text; an agent sees no images."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or ("" if part.get("type") == "text" else IMAGE) for part in content)
