"""Ask: a new conversation, or the next turn of one, from any message of it. The answer comes whole."""

from typing import Any

import structlog
from flask import Response

from api.context import context
from api.dialects.chatgpt_rest_api import wire
from api.dialects.chatgpt_rest_api.wire import blueprint
from api.dialects.unanswered import NotAnswered
from api.guards import principal
from api.jobs.submission import Submission
from shared.errors import ChatrelayError, InvalidRequest, NotFound
from shared.messages.text import text_of
from shared.models import Job, Message, Status

DEFAULT_NAMES = frozenset({"", "text-davinci-002-render-sha"})
"""What the original calls its default model; here it is ours."""
CONTINUE = "Continue exactly where you stopped, without repeating anything."
FINISH_DETAILS = {"stop": "stop", "length": "max_tokens"}
LENGTH = "length"

log = structlog.get_logger(__name__)


@blueprint.post("/conversations/new")
def new() -> Response:
    """Begin a conversation."""
    body = wire.said()
    ask = _ask(body, title=wire.text(body, "title"))
    return _answered(ask, wire.flag(body, "autocontinue"), name=None)


@blueprint.post("/conversations/<name>/ask")
def ask(name: str) -> Response:
    """Go on with a conversation: behind `parent_id`, else behind its last answer."""
    body = wire.said()
    try:
        context().conversations.get(principal().user_id, name)
    except NotFound:
        raise wire.unknown(name) from None
    asked = _ask(body, conversation_id=name, parent_id=wire.text(body, "parent_id") or None)
    return _answered(asked, wire.flag(body, "autocontinue"), name=name)


def _ask(body: dict[str, Any], **where: Any) -> Submission:
    prompt, model = wire.text(body, "prompt"), wire.text(body, "model") or ""
    if prompt is None:
        raise InvalidRequest("prompt is required", param="prompt")
    return Submission(message={"role": "user", "content": prompt}, model=None if model in DEFAULT_NAMES else model, **where)


def _answered(ask: Submission, autocontinue: bool, *, name: str | None) -> Response:
    user_id = principal().user_id
    job = context().jobs.wait_for_end(context().submitter.submit(user_id, ask))
    if not job.status.has_answer:
        raise NotAnswered(job)
    said = text_of(job.message)
    if autocontinue and job.finish_reason == LENGTH and (more := _continued(user_id, job)):
        job, said = more, said + text_of(more.message)
    return wire.answer({"response": answer_object(job, said, name or job.conversation_id)}, wire.CREATED)


def _continued(user_id: str, job: Job) -> Job | None:
    """Let an answer that was cut off go on, once. If that fails, there is still the first part."""
    message = {"role": "user", "content": CONTINUE}
    ask = Submission(message=message, conversation_id=job.conversation_id, parent_id=job.answer_id, model=job.model)
    try:
        more = context().jobs.wait_for_end(context().submitter.submit(user_id, ask))
    except ChatrelayError as error:
        log.warning("autocontinue.refused", job=job.id, code=error.reason)
        return None
    return more if more.status.has_answer else None


def answer_object(job: Job, said: str, conversation_id: str | None) -> dict[str, Any]:
    """Show an answer; `parent_id` is its own id, by which the next question names it."""
    return {
        "author": author(Message(role="assistant")),
        "message": said,
        "conversation_id": conversation_id,
        "parent_id": job.answer_id,
        "model": job.model,
        "finish_details": FINISH_DETAILS.get(job.finish_reason or ""),
        "end_turn": job.status is Status.COMPLETED,
        "recipient": "all",
        "citations": [],
    }


def author(message: Message) -> dict[str, Any]:
    """Show who said something."""
    return {"role": message.role, "name": None, "metadata": {}}
