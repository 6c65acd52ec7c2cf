"""Chats: send a text or an image, and show or clear what was said."""

from typing import Any

from flask import Response

from api.context import context
from api.dialects.chatgpt_proxy.blueprint import authenticate, blueprint, json_response
from api.dialects.chatgpt_proxy.request_fields import read_texts
from api.dialects.no_answer import answered
from api.guards import principal
from api.jobs.submission import Place, Submission
from shared.errors import InvalidRequest, NotFound
from shared.messages.text import text_of
from shared.models import Conversation

COUNTS = ("completion_tokens", "prompt_tokens", "total_tokens")


@blueprint.post("/<chat_id:chat_id>/chat")
def send_text(chat_id: str) -> Response:
    """Answer a text in a chat, which begins with it if it is new."""
    authenticate()
    (content,) = read_texts("content")
    return _answer(chat_id, content, model=None)


@blueprint.post("/<chat_id:chat_id>/img")
def send_image(chat_id: str) -> Response:
    """Answer a text about an image."""
    authenticate()
    content, url = read_texts("content", "url")
    if not url:
        raise InvalidRequest("url is empty", param="url")
    image = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return _answer(chat_id, [{"type": "text", "text": content}, image], model=context().config.image_model or None)


@blueprint.get("/<chat_id:chat_id>/chat")
def show_messages(chat_id: str) -> Response:
    """Return the messages of a chat, its prompt first. User messages that were not answered are left out."""
    authenticate()
    chat = find_chat(chat_id)
    path = context().conversations.path(chat)
    unanswered = {message.parent_id for message in path if message.role == "assistant" and not text_of(message.body)}
    messages = [
        {"role": message.role, "content": message.body.get("content")}
        for message in path
        if message.id not in unanswered and (message.role == "user" or text_of(message.body))
    ]
    prompt = [{"role": "system", "content": chat.system_prompt}] if chat.system_prompt else []
    return json_response(prompt + messages)


@blueprint.post("/<chat_id:chat_id>/clear")
def clear(chat_id: str) -> Response:
    """Delete a chat with its prompt; one that does not exist is as good as deleted."""
    authenticate()
    chat = context().conversations.find(principal().user_id, chat_id)
    if chat is not None:
        context().conversations.remove(chat)
    return json_response({})


def find_chat(chat_id: str) -> Conversation:
    """Return the caller's chat.

    Raises:
        NotFound: there is none, or it is another user's; in this dialect's words.
    """
    try:
        return context().conversations.get(principal().user_id, chat_id)
    except NotFound:
        raise NotFound(f"user {chat_id} has no messages") from None


def _answer(chat_id: str, content: Any, *, model: str | None) -> Response:
    submission = Submission(
        turn=[{"role": "user", "content": content}],
        place=Place(chat_id, may_create=True, initial_prompt=context().global_prompt.read()),
        model=model,
    )
    job = answered(context().jobs.wait_for_end(context().submitter.submit(principal().user_id, submission)))
    usage = job.usage or {}
    tokens = {name: usage.get(name, 0) for name in COUNTS}
    return json_response({"role": "assistant", "content": text_of(job.message), "tokens": tokens})
