"""`/chat/sessions`, `/chat/session`, `/chat/remove`, `/chat/system_message`: a user's conversations, as this dialect shows them."""

from collections.abc import Sequence
from http import HTTPStatus

from flask import Response, jsonify, request

from api.context import context
from api.conversations.overviews import Overview
from api.dialects.chatgpt_api_nest.blueprint import Invalid, blueprint
from api.dialects.chatgpt_api_nest.ids import is_uuid, shown_id, stored_id
from api.dialects.chatgpt_api_nest.request_fields import message_text, positive_number, read_body
from api.guards import principal
from shared.errors import NotFound
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Conversation, Message

DEFAULT_TAKE = 5
MAX_TAKE = 1000
SYSTEM = "system"
"""The id under which a session's system prompt is shown, so that it can be removed. No message has it."""


@blueprint.get("/chat/sessions")
def index() -> Response:
    """List the caller's sessions; with `page` or `take` in the older form, a page of them."""
    user_id = principal().user_id
    if not request.args.keys() & {"page", "take"}:
        return jsonify(_rows(context().conversations.page(user_id)))
    take = min(positive_number("take", DEFAULT_TAKE), MAX_TAKE)
    rows = _rows(context().conversations.page(user_id, limit=take, offset=(positive_number("page", 1) - 1) * take))
    return jsonify(session_ids=[{"id": row["id"], "chat_name": row["chat_name"]} for row in rows])


@blueprint.get("/chat/session/<session_id>")
@blueprint.get("/chat/history/<session_id>")
def show(session_id: str) -> Response:
    """Return a session; for one that does not exist an empty answer, as clients expect."""
    try:
        session = _find(session_id)
    except NotFound:
        return Response(status=HTTPStatus.OK, content_type="application/json")
    return jsonify(_whole(session))


@blueprint.delete("/chat/session/<session_id>")
def remove(session_id: str) -> Response:
    """Delete a session, and return what it was."""
    session = _find(session_id)
    whole = _whole(session)
    context().conversations.remove(session)
    return jsonify({**whole, "user_id": session.user_id})


@blueprint.delete("/chat/remove/<session_id>/<message_id>")
def remove_message(session_id: str, message_id: str) -> Response:
    """Remove a message, or the system prompt, from a session; one that does not exist is as good as removed."""
    session = _find(session_id)
    if message_id == SYSTEM:
        context().conversations.set_prompt(session, None)
    else:
        context().conversations.remove_message(session, stored_id(message_id))
    return jsonify(_id_and_name(session))


@blueprint.post("/chat/system_message")
def set_system_message() -> tuple[Response, int]:
    """Set a session's system prompt."""
    body = read_body()
    session_id, prompt = body.get("session_id") or body.get("sessionId"), message_text(body)
    complaints = [] if prompt else ["message should not be empty"]
    if not isinstance(session_id, str) or not session_id:
        raise Invalid("session_id must be a UUID", *complaints)
    if complaints:
        raise Invalid(*([] if is_uuid(session_id) else ["session_id must be a UUID"]), *complaints)
    try:
        session = _find(session_id)
    except NotFound:
        if is_uuid(session_id):
            raise
        raise Invalid("session_id must be a UUID") from None
    if len(prompt or "") > context().config.max_message_chars:
        raise Invalid(f"message is longer than {context().config.max_message_chars} characters")
    context().conversations.set_prompt(session, prompt)
    return jsonify(_id_and_name(session)), HTTPStatus.CREATED


def _find(session_id: str) -> Conversation:
    return context().conversations.get(principal().user_id, session_id)


def _id_and_name(session: Conversation) -> JsonObject:
    row = _rows([context().conversations.overview(session)])[0]
    return {"id": row["id"], "chat_name": row["chat_name"]}


def _whole(session: Conversation) -> JsonObject:
    row = _rows([context().conversations.overview(session)])[0]
    messages = [_message(message) for message in context().conversations.path(session)]
    if session.system_prompt:
        messages.insert(0, {"id": SYSTEM, "role": "system", "content": session.system_prompt})
    return {"id": row["id"], "chat_name": row["chat_name"], "messages": messages, "token": row["token"]}


def _message(message: Message) -> JsonObject:
    message_id = shown_id(message.id) if message.role == "assistant" else message.id
    return {"id": message_id, "role": message.role, "content": text_of(message.body)}


def _rows(overviews: Sequence[Overview]) -> list[JsonObject]:
    first = context().conversations.first_user_messages([each.conversation.id for each in overviews])
    return [
        {
            "id": each.names[0] if each.names else each.conversation.id,
            "chat_name": each.conversation.title or _text(first.get(each.conversation.id)),
            "token": each.last_tokens,
        }
        for each in overviews
    ]


def _text(message: Message | None) -> str:
    return text_of(message.body) if message else ""
