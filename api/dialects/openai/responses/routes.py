"""`/v1/responses`: create, look, follow, cancel, delete; the input as it was sent."""

from collections.abc import Iterable

import orjson
from flask import Blueprint, Response, jsonify, request

from api.context import context
from api.dialects.openai import ids, items, paging
from api.dialects.openai.errors import ProviderFailed
from api.dialects.openai.request import idempotency_key, read_body, starting_after
from api.dialects.openai.responses import object
from api.dialects.openai.responses.events import EventTranslation
from api.dialects.openai.responses.request import ResponseInput, ResponseRequest, parameters, submission
from api.dialects.openai.sse import FROM_THE_START, frames
from api.guards import principal
from api.http import sse
from shared.errors import InvalidRequest, NotFound
from shared.json_types import JsonObject
from shared.messages.answer import estimate_tokens, text_of
from shared.models import Job, Message, ObjectType, Status

POLL_MS = 1_000
"""When to look again at what is not over yet."""
TRUE = frozenset({"true", "True", "1"})

blueprint = Blueprint("responses", __name__)


@blueprint.post("/responses")
def create() -> Response:
    """Create a response: whole, streamed, in the background, or both."""
    body = read_body(ResponseRequest)
    before, where = _place(body)
    key = idempotency_key()
    job = context().submitter.submit(principal().user_id, submission(body, before, **where), key)
    if body.stream:
        return _streamed(job, FROM_THE_START)
    if not body.background:
        job = context().jobs.wait_for_end(job)
        if job.status is Status.FAILED and not text_of(job.message):
            raise ProviderFailed(job)
    return _shown(job)


def _place(body: ResponseRequest) -> tuple[list[JsonObject], JsonObject]:
    """Find where a response belongs: behind another, in a conversation, or nowhere yet.

    Returns:
        what was said before, where the response is not to be kept; and its place in a conversation.

    Raises:
        InvalidRequest: there is no such response to follow.
        NotFound: there is no such conversation.
    """
    if body.conversation_name is not None:
        found = context().conversations.get(principal().user_id, body.conversation_name, param="conversation")
        return [], {"conversation_id": found.id}
    if body.previous_response_id is None:
        return [], {}
    previous = _previous(body.previous_response_id)
    if body.store is not False:
        return [], {"conversation_id": previous.conversation_id, "parent_id": previous.answer_id}
    if not previous.status.is_terminal:
        raise InvalidRequest(
            "The previous response is not over yet; wait, or let this one be stored.", param="previous_response_id"
        )
    return _said_before(previous), {}


def _previous(response_id: str) -> Job:
    try:
        previous = ids.find(ObjectType.RESPONSE, response_id, param="previous_response_id")
    except NotFound:
        previous = None
    if previous is None or previous.conversation_id is None:
        raise InvalidRequest(
            f"Previous response with id '{response_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return previous


def _said_before(previous: Job) -> list[JsonObject]:
    """Tell what was said up to a response, with it, as chat messages."""
    conversation = context().conversations.get(previous.user_id, previous.conversation_id or "")
    return _said(context().conversations.path_to(conversation, previous.answer_id))


def _said(rows: Iterable[Message]) -> list[JsonObject]:
    return [
        {"role": row.role, **row.body} for row in rows if row.role != "assistant" or row.body.get("tool_calls") or text_of(row.body)
    ]


@blueprint.get("/responses/<response_id>")
def show(response_id: str) -> Response:
    """Show a response as it is now, or follow it from any number on."""
    job = ids.find(ObjectType.RESPONSE, response_id, param="response_id")
    if request.args.get("stream", "") in TRUE:
        return _streamed(job, starting_after())
    return _shown(job)


@blueprint.post("/responses/<response_id>/cancel")
def cancel(response_id: str) -> Response:
    """Cancel a response that was asked for in the background; again and again is the same."""
    job = ids.find(ObjectType.RESPONSE, response_id, param="response_id")
    if not (job.wire_request or {}).get("background"):
        raise InvalidRequest("Only responses in the background can be cancelled; hang up on others.", param="response_id")
    return _shown(context().jobs.cancel(job.user_id, job.id))


@blueprint.delete("/responses/<response_id>")
def remove(response_id: str) -> Response:
    """Delete a response; a running one is cancelled first. Its messages stay in their conversation."""
    job = ids.find(ObjectType.RESPONSE, response_id, param="response_id")
    context().jobs.remove(job.user_id, job.id)
    return jsonify({"id": response_id, "object": "response", "deleted": True})


@blueprint.get("/responses/<response_id>/input_items")
def input_items(response_id: str) -> Response:
    """List what a response was asked with."""
    job = ids.find(ObjectType.RESPONSE, response_id, param="response_id")
    sent = (job.wire_request or {}).get("input", [])
    return jsonify(paging.page(items.listed(sent, object.base(job))))


@blueprint.post("/responses/input_tokens")
def input_tokens() -> Response:
    """Estimate how many tokens an input is, with what was said before it and the tools. Nobody is asked."""
    body = read_body(ResponseInput)
    messages = [*_before(body), *items.messages_of(body.items())]
    asked = [body.instructions or "", *(orjson.dumps(tool).decode() for tool in parameters(body).get("tools", ()))]
    count = sum(estimate_tokens(text) for text in (*map(text_of, messages), *asked))
    return jsonify({"object": "response.input_tokens", "input_tokens": count})


def _before(body: ResponseInput) -> list[JsonObject]:
    if body.conversation_name is not None:
        found = context().conversations.get(principal().user_id, body.conversation_name, param="conversation")
        return _said(context().conversations.path(found))
    return [] if body.previous_response_id is None else _said_before(_previous(body.previous_response_id))


def _shown(job: Job) -> Response:
    response = jsonify(object.shown(job, context().job_logs.so_far(job)))
    if not job.status.is_terminal:
        response.headers["openai-poll-after-ms"] = str(POLL_MS)
    return ids.with_job_id(response, job)


def _streamed(job: Job, number: int) -> Response:
    jobs = context().jobs  # the stream goes on when the request's context is gone
    log = context().job_logs.follow(job, 0)
    return ids.with_job_id(sse.respond(frames(EventTranslation(job), log, lambda: jobs.find(job.user_id, job.id), number)), job)
