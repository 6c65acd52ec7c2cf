"""The welcome, the operator's global prompt, the prompts of chats, and moderation."""

import contextlib
from typing import Any

import orjson
from flask import Response, redirect, request
from sqlalchemy.exc import IntegrityError

from api.context import context
from api.dialects.chatgpt_proxy import wire
from api.dialects.chatgpt_proxy.chats import found, global_prompt, outcome
from api.dialects.chatgpt_proxy.wire import blueprint
from api.guards import principal, require_admin
from api.jobs import submission
from api.jobs.submission import Submission
from shared.messages.text import text_of
from shared.models import Kind, Setting
from shared.models.setting import GLOBAL_PROMPT

HTML = "text/html; charset=utf-8"


@blueprint.route("/", methods=["GET", "POST"])
def welcome() -> Any:
    """Greet a client; show a browser, which asks for HTML first, the documentation."""
    if request.method == "GET" and request.headers.get("Accept", "").startswith("text/html"):
        return redirect(f"{request.script_root}/docs")
    return Response("Hello, World!", content_type=HTML)


@blueprint.get("/system")
def show() -> Response:
    """Tell the global prompt."""
    wire.let_in()
    return wire.answer({"content": global_prompt()})


@blueprint.post("/system")
def change() -> Response:
    """Change the global prompt, which new chats begin with; an empty one clears it. For the operator."""
    wire.let_in()
    require_admin()
    content = _prompt()
    with contextlib.suppress(IntegrityError):  # somebody else's change of this very moment came first, or is the last
        _set_global_prompt(content)
    return wire.answer({})


def _set_global_prompt(content: str) -> None:
    with context().database.write() as session:
        known = session.get(Setting, GLOBAL_PROMPT)
        if known is None:
            session.add(Setting(name=GLOBAL_PROMPT, value=content))
        else:
            known.value = content


def _prompt() -> str:
    """Read the prompt that is sent.

    Raises:
        InvalidRequest: it is longer than a message may be, since it is shown with each of them.
    """
    (content,) = wire.said("content")
    submission.check_length("content", content, context().config.max_message_chars)
    return content


@blueprint.get("/<chat_id:chat_id>/system")
def show_of_chat(chat_id: str) -> Response:
    """Tell a chat's prompt."""
    wire.let_in()
    return wire.answer({"content": found(chat_id).system_prompt or "", "role": "system"})


@blueprint.post("/<chat_id:chat_id>/system")
def change_of_chat(chat_id: str) -> Response:
    """Change a chat's prompt, beginning the chat if need be; an empty one is the global prompt again."""
    wire.let_in()
    content = _prompt()
    user_id = principal().user_id
    context().limits.check_submission(user_id)
    chat = context().conversations.get_or_create(user_id, chat_id)
    context().conversations.set_prompt(chat, content or global_prompt())
    return wire.answer({})


@blueprint.post("/mod")
def moderate() -> Response:
    """Have a text judged; the provider's moderation object is passed on as it is."""
    wire.let_in()
    (content,) = wire.said("content")
    message = {"role": "user", "content": content}
    ask = Submission(messages=[message], kind=Kind.MODERATION, model=context().config.moderation_model)
    job = outcome(context().jobs.wait_for_end(context().submitter.submit(principal().user_id, ask)))
    return wire.answer(orjson.loads(text_of(job.message)))
