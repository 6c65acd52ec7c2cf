"""`/v1/conversations` and their items: the conversations that all APIs share, as OpenAI's objects.

The items are the messages on the way from a conversation's root to its current leaf; other branches are not shown.
"""

from collections.abc import Sequence
from typing import Annotated

from flask import Blueprint, Response, jsonify
from pydantic import Field

from api.context import context
from api.dialects.openai import paging
from api.dialects.openai.items import messages as item_messages
from api.dialects.openai.items import references
from api.dialects.openai.items.shapes import Item
from api.dialects.openai.request import read_body
from api.guards import principal
from api.http.bodies import Body
from api.jobs.submission import check_length
from api.schemas.jobs import Metadata
from shared.errors import InvalidRequest, NotFound
from shared.json_types import JsonObject
from shared.messages.text import text_of, text_of_calls
from shared.models import Conversation, Message
from shared.timestamps import unix_seconds

MAX_ITEMS = 20
"""How many items may be put in at once."""

blueprint = Blueprint("conversations", __name__, url_prefix="/conversations")


class NewConversation(Body):
    """A conversation to create, with its first items."""

    items: list[Item] | None = Field(None, max_length=MAX_ITEMS)
    metadata: Metadata | None = None


class Change(Body):
    """What of a conversation can be changed."""

    metadata: Metadata | None


class NewItems(Body):
    """Items to put at a conversation's end."""

    items: Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS)]


@blueprint.post("")
def create() -> Response:
    """Create a conversation."""
    body = read_body(NewConversation)
    messages = _messages(body.items or [])
    return jsonify(_view(context().conversations.create(_caller(), messages, body.metadata or {})))


@blueprint.get("/<conversation_id>")
def show(conversation_id: str) -> Response:
    """Show a conversation."""
    return jsonify(_view(_found(conversation_id)))


@blueprint.post("/<conversation_id>")
def change(conversation_id: str) -> Response:
    """Change a conversation's metadata."""
    body = read_body(Change)
    context().conversations.set_labels(_found(conversation_id), body.metadata or {})
    return jsonify(_view(_found(conversation_id)))


@blueprint.delete("/<conversation_id>")
def remove(conversation_id: str) -> Response:
    """Delete a conversation with all its items; running jobs are cancelled first."""
    context().conversations.remove(_found(conversation_id))
    return jsonify({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


@blueprint.post("/<conversation_id>/items")
def add(conversation_id: str) -> Response:
    """Put items at a conversation's end; behind an answer that is still to come, where one is."""
    body = read_body(NewItems)
    messages = _messages(body.items)
    added = context().conversations.append(_found(conversation_id), messages)
    return jsonify(paging.listed(_items(added), has_more=False))


@blueprint.get("/<conversation_id>/items")
def index(conversation_id: str) -> Response:
    """List a conversation's items, the newest first unless the query has an order."""
    return jsonify(paging.page(_items(context().conversations.path(_found(conversation_id)))))


@blueprint.get("/<conversation_id>/items/<item_id>")
def show_item(conversation_id: str, item_id: str) -> Response:
    """Show one item."""
    _, place, items_of_message = _item(context().conversations.path(_found(conversation_id)), item_id)
    return jsonify(items_of_message[place])


@blueprint.delete("/<conversation_id>/items/<item_id>")
def remove_item(conversation_id: str, item_id: str) -> Response:
    """Remove one item from a conversation; answers with the conversation."""
    found = _found(conversation_id)
    message, _, _ = _item(context().conversations.path(found), item_id)

    def edit(row: Message | None) -> JsonObject | None:
        current, place, items_of_message = _item([row] if row else [], item_id)
        return _without(current.body, place, len(items_of_message)) if len(items_of_message) > 1 else None

    if not context().conversations.edit_message(found, message.id, edit):
        context().conversations.remove_message(found, message.id)
    return jsonify(_view(_found(conversation_id)))


def _without(body: JsonObject, place: int, count: int) -> JsonObject:
    """Return a message without a part that is an item of its own: its text, or one of its calls."""
    calls = body["tool_calls"]
    texts = count - len(calls)
    if place < texts:
        return {**{name: value for name, value in body.items() if name != "refusal"}, "content": None}
    left = calls[: place - texts] + calls[place - texts + 1 :]
    rest = {name: value for name, value in body.items() if name != "tool_calls"}
    return {**rest, "tool_calls": left} if left else rest


def _item(path: Sequence[Message], item_id: str) -> tuple[Message, int, list[JsonObject]]:
    """Return an item: its message, its place in it, and all items that the message is."""
    row_id = "msg_" + item_id.partition("_")[2].partition("_")[0]
    message = next((each for each in path if each.id == row_id), None)
    siblings = item_messages.items_of(message.id, message.role, message.body) if message else []
    ids = [item["id"] for item in siblings]
    # An item of an answer that began anew has its place in its response's stream behind its id.
    places = [place for place, each in enumerate(ids) if each == item_id or (item_id not in ids and item_id.startswith(f"{each}_"))]
    if message and places:
        return message, places[0], siblings
    raise NotFound(f"No item was found under the id '{item_id}'.", param="item_id")


def _items(path: list[Message]) -> list[JsonObject]:
    return [item for message in path for item in item_messages.items_of(message.id, message.role, message.body)]


def _messages(sent: list[Item]) -> list[JsonObject]:
    messages = item_messages.messages_of(references.settled(sent, "items"), "items")
    if any(len(item_messages.items_of("", message["role"], message)) == 0 for message in messages):
        raise InvalidRequest("An item says nothing.", param="items")
    for message in messages:
        check_length("items", text_of(message) + text_of_calls(message), context().config.max_message_chars)
    if messages:
        context().limits.check_submission(_caller())  # what is stored is bounded as what is asked is
    return messages


def _caller() -> str:
    return principal().user_id


def _found(conversation_id: str) -> Conversation:
    return context().conversations.get(_caller(), conversation_id)


def _view(found: Conversation) -> JsonObject:
    return {"id": found.id, "object": "conversation", "created_at": unix_seconds(found.created_ms), "metadata": found.labels}
