"""Look at conversations, whole or in a list, and delete them."""

from datetime import UTC, datetime
from typing import Any

from flask import Response, request
from werkzeug.exceptions import MethodNotAllowed

from api.context import context
from api.conversations.overviews import Overview
from api.dialects.chatgpt_rest_api import wire
from api.dialects.chatgpt_rest_api.asking import answer_object, author
from api.dialects.chatgpt_rest_api.wire import blueprint
from api.guards import principal
from shared.errors import NotFound
from shared.messages.text import text_of
from shared.models import Conversation, Message

DEFAULT_LIMIT = 10
MOST = 100
MOST_OFFSET = 1_000_000
UNTITLED = "New chat"
NO_CONTENT = 204
NEW = "new"
ANSWERS = "answers"
"""`?as=answers` shows the answers alone, as the original's README promises; without it there is the whole tree, as it answers."""
MS_PER_SECOND = 1000


@blueprint.get("/conversations")
def index() -> Response:
    """List the caller's conversations, the one that changed last first."""
    limit, offset = wire.whole_number("limit", DEFAULT_LIMIT, 1, MOST), wire.whole_number("offset", 0, 0, MOST_OFFSET)
    return wire.answer([_item(each) for each in context().conversations.page(_caller(), limit=limit, offset=offset)])


@blueprint.get("/conversations/<name>/messages")
def messages(name: str) -> Response:
    """Show a conversation: its whole tree, or its answers."""
    conversation = _found(name)
    if request.args.get("as") == ANSWERS:
        return wire.answer(_answers(conversation, name))
    return wire.answer(_tree(conversation))


@blueprint.delete("/conversations/all")
def remove_all() -> tuple[str, int]:
    """Delete all of the caller's conversations."""
    for each in context().conversations.page(_caller()):
        context().conversations.remove(each.conversation)
    return "", NO_CONTENT


@blueprint.delete("/conversations/<name>")
def remove(name: str) -> tuple[str, int]:
    """Delete a conversation; what runs in it is cancelled first."""
    if name == NEW:
        raise MethodNotAllowed(["POST", "OPTIONS"])
    context().conversations.remove(_found(name))
    return "", NO_CONTENT


def _caller() -> str:
    return principal().user_id


def _found(name: str) -> Conversation:
    try:
        return context().conversations.get(_caller(), name)
    except NotFound:
        raise wire.unknown(name) from None


def _item(each: Overview) -> dict[str, Any]:
    return {
        "id": each.conversation.id,
        "title": each.conversation.title or UNTITLED,
        "create_time": _iso(each.conversation.created_ms),
        "update_time": _iso(each.changed_ms),
        "mapping": None,
        "current_node": None,
    }


def _tree(conversation: Conversation) -> dict[str, Any]:
    rows, current_id = context().conversations.messages(conversation)
    root = f"root_{conversation.id}"
    nodes: dict[str, dict[str, Any]] = {root: {"id": root, "message": None, "parent": None, "children": []}}
    nodes |= {row.id: {"id": row.id, "message": _message(row), "parent": row.parent_id, "children": []} for row in rows}
    for row in rows:
        parent = row.parent_id if row.parent_id in nodes else root
        nodes[row.id]["parent"] = parent
        nodes[parent]["children"].append(row.id)
    return {
        "title": conversation.title or UNTITLED,
        "create_time": conversation.created_ms / MS_PER_SECOND,
        "update_time": max([conversation.created_ms, *(row.created_ms for row in rows)]) / MS_PER_SECOND,
        "mapping": nodes,
        "moderation_results": [],
        "current_node": current_id or root,
    }


def _message(row: Message) -> dict[str, Any]:
    return {
        "id": row.id,
        "author": author(row),
        "create_time": row.created_ms / MS_PER_SECOND,
        "content": {"content_type": "text", "parts": [text_of(row.body)]},
        "end_turn": True if row.role == "assistant" else None,
        "weight": 1.0,
        "recipient": "all",
        "metadata": {},
    }


def _answers(conversation: Conversation, name: str) -> list[dict[str, Any]]:
    return [answer_object(job, text_of(row.body), name) for row, job in context().conversations.answers(conversation)]


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / MS_PER_SECOND, UTC).isoformat()
