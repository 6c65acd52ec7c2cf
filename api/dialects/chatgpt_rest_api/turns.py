"""Begin a conversation, or append a turn to any message of one. The answer comes whole."""

from http import HTTPStatus

import structlog
from flask import Response

from api.context import context
from api.dialects.chatgpt_rest_api.blueprint import blueprint, json_response, no_such_conversation
from api.dialects.chatgpt_rest_api.request_fields import flag, read_body, text
from api.dialects.no_answer import answered
from api.guards import principal
from api.jobs.submission import Place, Submission
from shared.errors import ChatrelayError, InvalidRequest, NotFound
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Job, Message, Status

DEFAULT_NAMES = frozenset({"", "text-davinci-002-render-sha"})
"""What the original calls its default model; here it is ours."""
CONTINUE = "Continue exactly where you stopped, without repeating anything."
FINISH_DETAILS = {"stop": "stop", "length": "max_tokens"}
LENGTH = "length"

log = structlog.get_logger(__name__)


@blueprint.post("/conversations/new")
def begin() -> Response:
    """Begin a conversation."""
    body = read_body()
    submission = _submission(body, Place(title=text(body, "title")))
    return _answer(submission, flag(body, "autocontinue"), name=None)


@blueprint.post("/conversations/<name>/ask")
def go_on(name: str) -> Response:
    """Append a turn to `parent_id`, else to the conversation's last answer."""
    body = read_body()
    try:
        context().conversations.get(principal().user_id, name)
    except NotFound:
        raise no_such_conversation(name) from None
    submission = _submission(body, Place(name, text(body, "parent_id") or None))
    return _answer(submission, flag(body, "autocontinue"), name=name)


def answer_object(job: Job, content: str, conversation_id: str | None) -> JsonObject:
    """Return an answer as this dialect shows it; `parent_id` is its own id, by which the next turn names it."""
    return {
        "author": author(Message(role="assistant")),
        "message": content,
        "conversation_id": conversation_id,
        "parent_id": job.answer_id,
        "model": job.model,
        "finish_details": FINISH_DETAILS.get(job.finish_reason or ""),
        "end_turn": job.status is Status.COMPLETED,
        "recipient": "all",
        "citations": [],
    }


def author(message: Message) -> JsonObject:
    """Return a message's author as this dialect shows them."""
    return {"role": message.role, "name": None, "metadata": {}}


def _submission(body: JsonObject, place: Place) -> Submission:
    prompt, model = text(body, "prompt"), text(body, "model") or ""
    if prompt is None:
        raise InvalidRequest("prompt is required", param="prompt")
    return Submission(turn=[{"role": "user", "content": prompt}], place=place, model=None if model in DEFAULT_NAMES else model)


def _answer(submission: Submission, autocontinue: bool, *, name: str | None) -> Response:
    user_id = principal().user_id
    job = answered(_finished(user_id, submission))
    content = text_of(job.message)
    if autocontinue and job.finish_reason == LENGTH and (continuation := _continuation(user_id, job)):
        job, content = continuation, content + text_of(continuation.message)
    return json_response({"response": answer_object(job, content, name or job.conversation_id)}, HTTPStatus.CREATED)


def _continuation(user_id: str, job: Job) -> Job | None:
    """Have an answer that was cut off continued, once. None where that fails: there is still the first part."""
    message = {"role": "user", "content": CONTINUE}
    submission = Submission(turn=[message], place=Place(job.conversation_id, job.answer_id), model=job.model)
    try:
        continuation = _finished(user_id, submission)
    except ChatrelayError as error:
        log.warning("autocontinue.refused", job=job.id, code=error.reason)
        return None
    return continuation if continuation.status.has_answer else None


def _finished(user_id: str, submission: Submission) -> Job:
    return context().jobs.wait_for_end(context().submitter.submit(user_id, submission))
