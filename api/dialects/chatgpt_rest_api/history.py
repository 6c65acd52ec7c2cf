"""List, show and delete conversations."""

from http import HTTPStatus

from flask import Response, request
from werkzeug.exceptions import MethodNotAllowed

from api.context import context
from api.conversations.overviews import Overview
from api.dialects.chatgpt_rest_api.blueprint import blueprint, json_response, no_such_conversation
from api.dialects.chatgpt_rest_api.request_fields import whole_number
from api.dialects.chatgpt_rest_api.turns import answer_object, author
from api.guards import principal
from shared.errors import NotFound
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Conversation, Message
from shared.timestamps import MS_PER_SECOND, utc

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_OFFSET = 1_000_000
UNTITLED = "New chat"
NEW = "new"
ANSWERS = "answers"
"""`?as=answers` shows the answers alone, as the original's README promises; without it, the whole tree, as its program answers."""


@blueprint.get("/conversations")
def index() -> Response:
    """List the caller's conversations, the one that changed last first."""
    limit, offset = whole_number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT), whole_number("offset", 0, 0, MAX_OFFSET)
    return json_response([_item(each) for each in context().conversations.page(_caller(), limit=limit, offset=offset)])


@blueprint.get("/conversations/<name>/messages")
def messages(name: str) -> Response:
    """Return a conversation: its whole tree, or its answers."""
    conversation = _found(name)
    if request.args.get("as") == ANSWERS:
        return json_response(_answers(conversation, name))
    return json_response(_tree(conversation))


@blueprint.delete("/conversations/all")
def remove_all() -> tuple[str, int]:
    """Delete all of the caller's conversations."""
    for each in context().conversations.page(_caller()):
        context().conversations.remove(each.conversation)
    return "", HTTPStatus.NO_CONTENT


@blueprint.delete("/conversations/<name>")
def remove(name: str) -> tuple[str, int]:
    """Delete a conversation; what runs in it is cancelled first."""
    if name == NEW:
        raise MethodNotAllowed(["POST", "OPTIONS"])
    context().conversations.remove(_found(name))
    return "", HTTPStatus.NO_CONTENT


def _caller() -> str:
    return principal().user_id


def _found(name: str) -> Conversation:
    try:
        return context().conversations.get(_caller(), name)
    except NotFound:
        raise no_such_conversation(name) from None


def _item(each: Overview) -> JsonObject:
    return {
        "id": each.conversation.id,
        "title": each.conversation.title or UNTITLED,
        "create_time": utc(each.conversation.created_ms).isoformat(),
        "update_time": utc(each.changed_ms).isoformat(),
        "mapping": None,
        "current_node": None,
    }


def _tree(conversation: Conversation) -> JsonObject:
    rows, current_id = context().conversations.messages(conversation)
    root = f"root_{conversation.id}"
    nodes: dict[str, JsonObject] = {root: {"id": root, "message": None, "parent": None, "children": []}}
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


def _message(row: Message) -> JsonObject:
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


def _answers(conversation: Conversation, name: str) -> list[JsonObject]:
    return [answer_object(job, text_of(row.body), name) for row, job in context().conversations.answers(conversation)]
