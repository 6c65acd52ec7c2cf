"""The welcome, the operator's global prompt, the prompts of chats, and moderation."""

from typing import Any

import orjson
from flask import Response, redirect, request

from api import conversations, identity, waiting
from api.context import context
from api.dialects.chatgpt_proxy import wire
from api.dialects.chatgpt_proxy.chats import found, outcome
from api.dialects.chatgpt_proxy.wire import blueprint
from api.submission import Ask, submit
from shared.answer import text_of
from shared.models import Kind, Setting
from shared.models.setting import GLOBAL_PROMPT

HTML = "text/html; charset=utf-8"


@blueprint.route("/", methods=["GET", "POST"])
def welcome() -> Any:
    """Greet a client; show a browser, which asks for HTML first, the documentation."""
    if request.method == "GET" and request.headers.get("Accept", "").startswith("text/html"):
        return redirect("/docs")
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
    identity.require_admin()
    (content,) = wire.said("content")
    with context().database.write() as session:
        known = session.get(Setting, GLOBAL_PROMPT)
        if known is None:
            session.add(Setting(name=GLOBAL_PROMPT, value=content))
        else:
            known.value = content
    return wire.answer({})


@blueprint.get("/<chat_id:chat_id>/system")
def show_of_chat(chat_id: str) -> Response:
    """Tell a chat's prompt."""
    wire.let_in()
    return wire.answer({"content": found(chat_id).system_prompt or "", "role": "system"})


@blueprint.post("/<chat_id:chat_id>/system")
def change_of_chat(chat_id: str) -> Response:
    """Change a chat's prompt, beginning the chat if need be; an empty one is the global prompt again."""
    wire.let_in()
    (content,) = wire.said("content")
    chat = conversations.found_or_made(context(), identity.principal().user_id, chat_id)
    conversations.set_prompt(context(), chat, content or global_prompt())
    return wire.answer({})


@blueprint.post("/mod")
def moderate() -> Response:
    """Have a text judged; the provider's moderation object is passed on as it is."""
    wire.let_in()
    (content,) = wire.said("content")
    message = {"role": "user", "content": content}
    ask = Ask(messages=[message], kind=Kind.MODERATION, model=context().config.moderation_model)
    job = outcome(waiting.finished(context(), submit(context(), identity.principal().user_id, ask)))
    return wire.answer(orjson.loads(text_of(job.message)))


def global_prompt() -> str | None:
    """Read the global prompt; None where there is none."""
    with context().database.read() as session:
        known = session.get(Setting, GLOBAL_PROMPT)
    return known.value or None if known else None
