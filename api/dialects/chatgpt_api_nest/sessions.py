"""`/chat/sessions`, `/chat/session`, `/chat/remove`, `/chat/system_message`: a user's conversations, as this wire shows them."""

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify, request
from sqlalchemy import select

from api.context import context
from api.conversations.overviews import Overview
from api.dialects.chatgpt_api_nest.wire import CREATED, Invalid, blueprint, is_uuid, said, shown_id, stored_id, text
from api.guards import principal
from shared.errors import NotFound
from shared.messages.text import text_of
from shared.models import Conversation, Message

TAKE = 5
MOST_TAKEN = 1000
MAX_DIGITS = 9
SYSTEM = "system"
"""The id under which a session's system prompt is shown, so that it can be removed. No message has it."""


@blueprint.get("/chat/sessions")
def listed() -> Response:
    """List the caller's sessions; with `page` or `take` in the older form, a page of them."""
    user_id = principal().user_id
    if not request.args.keys() & {"page", "take"}:
        return jsonify(_rows(context().conversations.page(user_id)))
    take = min(_number("take", TAKE), MOST_TAKEN)
    rows = _rows(context().conversations.page(user_id, limit=take, offset=(_number("page", 1) - 1) * take))
    return jsonify(session_ids=[{"id": row["id"], "chat_name": row["chat_name"]} for row in rows])


@blueprint.get("/chat/session/<session_id>")
@blueprint.get("/chat/history/<session_id>")
def shown(session_id: str) -> Response:
    """Show a session; one that is not there is an empty answer, as clients expect."""
    try:
        found = _found(session_id)
    except NotFound:
        return Response(status=200, content_type="application/json")
    return jsonify(_whole(found))


@blueprint.delete("/chat/session/<session_id>")
def removed(session_id: str) -> Response:
    """Delete a session, and tell what it was."""
    found = _found(session_id)
    whole = _whole(found)
    context().conversations.remove(found)
    return jsonify({**whole, "user_id": found.user_id})


@blueprint.delete("/chat/remove/<session_id>/<message_id>")
def message_removed(session_id: str, message_id: str) -> Response:
    """Take a message, or the system prompt, out of a session; one that is not there is none to take."""
    found = _found(session_id)
    if message_id == SYSTEM:
        context().conversations.set_prompt(found, None)
    else:
        context().conversations.remove_message(found, stored_id(message_id))
    return jsonify(_named(found))


@blueprint.post("/chat/system_message")
def instructed() -> tuple[Response, int]:
    """Set a session's system prompt."""
    body = said()
    session_id, prompt = body.get("session_id") or body.get("sessionId"), text(body)
    complaints = [] if prompt else ["message should not be empty"]
    if not isinstance(session_id, str) or not session_id:
        raise Invalid("session_id must be a UUID", *complaints)
    if complaints:
        raise Invalid(*([] if is_uuid(session_id) else ["session_id must be a UUID"]), *complaints)
    try:
        found = _found(session_id)
    except NotFound:
        if is_uuid(session_id):
            raise
        raise Invalid("session_id must be a UUID") from None
    if len(prompt or "") > context().config.max_message_chars:
        raise Invalid(f"message is longer than {context().config.max_message_chars} characters")
    context().conversations.set_prompt(found, prompt)
    return jsonify(_named(found)), CREATED


def _found(session_id: str) -> Conversation:
    return context().conversations.get(principal().user_id, session_id)


def _named(found: Conversation) -> dict[str, Any]:
    row = _rows([context().conversations.overview(found)])[0]
    return {"id": row["id"], "chat_name": row["chat_name"]}


def _whole(found: Conversation) -> dict[str, Any]:
    row = _rows([context().conversations.overview(found)])[0]
    messages = [_message(message) for message in context().conversations.path(found)]
    if found.system_prompt:
        messages.insert(0, {"id": SYSTEM, "role": "system", "content": found.system_prompt})
    return {"id": row["id"], "chat_name": row["chat_name"], "messages": messages, "token": row["token"]}


def _message(message: Message) -> dict[str, Any]:
    shown_as = shown_id(message.id) if message.role == "assistant" else message.id
    return {"id": shown_as, "role": message.role, "content": text_of(message.body)}


def _rows(overviews: Sequence[Overview]) -> list[dict[str, Any]]:
    first = _first_texts([each.conversation.id for each in overviews])
    return [
        {
            "id": each.names[0] if each.names else each.conversation.id,
            "chat_name": each.conversation.title or first.get(each.conversation.id, ""),
            "token": each.last_tokens,
        }
        for each in overviews
    ]


def _first_texts(ids: Sequence[str]) -> dict[str, str]:
    """Read what each conversation began with."""
    query = (
        select(Message)
        .where(Message.conversation_id.in_(ids), Message.parent_id.is_(None), Message.role == "user")
        .order_by(Message.created_ms.desc(), Message.id.desc())
    )
    with context().database.read() as session:
        return {message.conversation_id: text_of(message.body) for message in session.scalars(query)}


def _number(name: str, otherwise: int) -> int:
    given = request.args.get(name, str(otherwise))
    if not (given.isascii() and given.isdecimal() and len(given) <= MAX_DIGITS and int(given)):
        raise Invalid(f"{name} must be a positive number")
    return int(given)
