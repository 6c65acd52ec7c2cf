"""What an agent is sent: it remembers its own conversation, so within one it is sent the newest message alone."""

import uuid
from collections.abc import Sequence

from shared.json_types import JsonObject
from workers.providers.base import AgentPosition, CompletionRequest

IMAGE = "[image]"


def bound_agent(position: AgentPosition) -> str | None:
    """Return the id of the agent whose conversation this continues; None where it begins one."""
    origin = position.origin or {}
    agent: str | None = origin.get("agent") if origin.get("conversation_id") else None
    return agent


def request_fields(request: CompletionRequest) -> dict[str, str]:
    """Return what an agent is sent (`shared.agents.requests.REQUEST_FIELDS`); ids that the caller did not choose are made up."""
    position = request.position
    origin = position.origin or {}
    continues = bound_agent(position) is not None
    return {
        "message_id": position.message_id or str(uuid.uuid4()),
        "conversation_id": origin["conversation_id"] if continues else "",
        "parent_id": position.parent_id or (continues and origin.get("response_id")) or str(uuid.uuid4()),
        "content": text_of_message(request.messages[-1]) if continues else text_of_messages(request.messages),
    }


def text_of_messages(messages: Sequence[JsonObject]) -> str:
    """Return a conversation as one text. A message that is alone is its own text; else its role stands before each."""
    if len(messages) == 1:
        return text_of_message(messages[0])
    return "\n\n".join(f"{message['role'].capitalize()}: {text_of_message(message)}" for message in messages)


def text_of_message(message: JsonObject) -> str:
    """Return a message as text; an agent sees no images."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or ("" if part.get("type") == "text" else IMAGE) for part in content)
