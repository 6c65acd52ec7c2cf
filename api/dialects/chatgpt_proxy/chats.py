"""Chats: asked with text or an image, shown, cleared."""

from typing import Any

from flask import Response

from api.context import context
from api.dialects.chatgpt_proxy import wire
from api.dialects.chatgpt_proxy.wire import blueprint
from api.dialects.unanswered import NotAnswered
from api.guards import principal
from api.jobs.submission import Submission
from shared.errors import InvalidRequest, NotFound
from shared.messages.text import text_of
from shared.models import Conversation, Job, Setting
from shared.models.setting import GLOBAL_PROMPT

COUNTS = ("completion_tokens", "prompt_tokens", "total_tokens")


@blueprint.post("/<chat_id:chat_id>/chat")
def say(chat_id: str) -> Response:
    """Say something in a chat, which begins with it if it is new."""
    wire.let_in()
    (content,) = wire.said("content")
    return _answered(chat_id, content, model=None)


@blueprint.post("/<chat_id:chat_id>/img")
def show_image(chat_id: str) -> Response:
    """Say something about an image."""
    wire.let_in()
    content, url = wire.said("content", "url")
    if not url:
        raise InvalidRequest("url is empty", param="url")
    image = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return _answered(chat_id, [{"type": "text", "text": content}, image], model=context().config.image_model or None)


@blueprint.get("/<chat_id:chat_id>/chat")
def history(chat_id: str) -> Response:
    """Tell what was said in a chat, its prompt first. Questions that had no answer are left out."""
    wire.let_in()
    chat = found(chat_id)
    path = context().conversations.path(chat)
    empty = {message.parent_id for message in path if message.role == "assistant" and not text_of(message.body)}
    told = [
        {"role": message.role, "content": message.body.get("content")}
        for message in path
        if message.id not in empty and (message.role == "user" or text_of(message.body))
    ]
    return wire.answer(([{"role": "system", "content": chat.system_prompt}] if chat.system_prompt else []) + told)


@blueprint.post("/<chat_id:chat_id>/clear")
def clear(chat_id: str) -> Response:
    """Forget a chat with its prompt; one that is not there is forgotten already."""
    wire.let_in()
    chat = context().conversations.find(principal().user_id, chat_id)
    if chat is not None:
        context().conversations.remove(chat)
    return wire.answer({})


def _answered(chat_id: str, content: Any, *, model: str | None) -> Response:
    message = {"role": "user", "content": content}
    ask = Submission(message=message, conversation_id=chat_id, opens=True, opens_with=global_prompt(), model=model)
    job = outcome(context().jobs.wait_for_end(context().submitter.submit(principal().user_id, ask)))
    usage = job.usage or {}
    tokens = {name: usage.get(name, 0) for name in COUNTS}
    return wire.answer({"role": "assistant", "content": text_of(job.message), "tokens": tokens})


def global_prompt() -> str | None:
    """Read the global prompt, which new chats begin with; None where there is none."""
    with context().database.read() as session:
        known = session.get(Setting, GLOBAL_PROMPT)
    return known.value or None if known else None


def outcome(job: Job) -> Job:
    """Pass on a job that has an answer.

    Raises:
        NotAnswered: it has none.
    """
    if not job.status.has_answer:
        raise NotAnswered(job)
    return job


def found(chat_id: str) -> Conversation:
    """Find the caller's chat.

    Raises:
        NotFound: there is none, or it is somebody else's; in this wire's words.
    """
    try:
        return context().conversations.get(principal().user_id, chat_id)
    except NotFound:
        raise NotFound(f"user {chat_id} has no messages") from None
