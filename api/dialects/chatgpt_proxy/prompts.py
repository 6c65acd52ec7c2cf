"""The welcome, the operator's global prompt, the prompts of chats, and moderation."""

from typing import Any

import orjson
from flask import Response, redirect, request

from api.context import context
from api.dialects.chatgpt_proxy.blueprint import HTML, authenticate, blueprint, json_response
from api.dialects.chatgpt_proxy.chats import find_chat
from api.dialects.chatgpt_proxy.request_fields import read_texts
from api.dialects.no_answer import answered
from api.guards import principal, require_admin
from api.jobs.submission import Submission, check_length
from shared.messages.text import text_of
from shared.models import Kind


@blueprint.route("/", methods=["GET", "POST"])
def welcome() -> Any:
    """Greet a client; send a browser, which asks for HTML first, to the documentation."""
    if request.method == "GET" and request.headers.get("Accept", "").startswith("text/html"):
        return redirect(f"{request.script_root}/docs")
    return Response("Hello, World!", content_type=HTML)


@blueprint.get("/system")
def show_global_prompt() -> Response:
    """Return the global prompt."""
    authenticate()
    return json_response({"content": context().global_prompt.read()})


@blueprint.post("/system")
def change_global_prompt() -> Response:
    """Change the global prompt, which new chats begin with; an empty one clears it. For the operator."""
    authenticate()
    require_admin()
    context().global_prompt.write(_prompt())
    return json_response({})


@blueprint.get("/<chat_id:chat_id>/system")
def show_prompt(chat_id: str) -> Response:
    """Return a chat's prompt."""
    authenticate()
    return json_response({"content": find_chat(chat_id).system_prompt or "", "role": "system"})


@blueprint.post("/<chat_id:chat_id>/system")
def change_prompt(chat_id: str) -> Response:
    """Change a chat's prompt, beginning the chat if need be; an empty one is the global prompt again."""
    authenticate()
    prompt = _prompt()
    user_id = principal().user_id
    context().limits.check_submission(user_id)
    chat = context().conversations.get_or_create(user_id, chat_id)
    context().conversations.set_prompt(chat, prompt or context().global_prompt.read())
    return json_response({})


@blueprint.post("/mod")
def moderate() -> Response:
    """Have a text judged by the provider, and return its moderation object as it is."""
    authenticate()
    (content,) = read_texts("content")
    messages = [{"role": "user", "content": content}]
    submission = Submission(messages=messages, kind=Kind.MODERATION, model=context().config.moderation_model)
    job = answered(context().jobs.wait_for_end(context().submitter.submit(principal().user_id, submission)))
    return json_response(orjson.loads(text_of(job.message)))


def _prompt() -> str:
    """Return the prompt in the request.

    Raises:
        InvalidRequest: it is longer than a message may be, since it is sent along with each message.
    """
    (content,) = read_texts("content")
    check_length("content", content, context().config.max_message_chars)
    return content
