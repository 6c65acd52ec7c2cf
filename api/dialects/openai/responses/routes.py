"""`/v1/responses`: create, look, follow, cancel, delete; the input as it was sent."""

import orjson
from flask import Blueprint, Response, jsonify, request

from api.context import context
from api.dialects.openai import foreground, ids, paging
from api.dialects.openai.errors import ProviderFailed
from api.dialects.openai.items import messages as item_messages
from api.dialects.openai.request import read_body, starting_after
from api.dialects.openai.responses import known, object, placement
from api.dialects.openai.responses.events import EventTranslation
from api.dialects.openai.responses.request import ResponseInput, ResponseRequest, parameters, submission
from api.dialects.openai.sse import FROM_THE_START
from shared.errors import InvalidRequest
from shared.messages.text import text_of
from shared.messages.usage import estimate_tokens
from shared.models import Job, ObjectType, Status

POLL_MS = 1_000
"""When to look again at a response that is not over."""
TRUE = frozenset({"true", "True", "1"})

blueprint = Blueprint("responses", __name__)


@blueprint.post("/responses")
def create() -> Response:
    """Create a response: whole, streamed, in the background, or both."""
    body = read_body(ResponseRequest)
    known.settle(body)
    before, place = placement.place(body)
    job = foreground.submit(submission(body, before, place))
    if body.stream:
        return _streamed(job, FROM_THE_START)
    if not body.background:
        job = foreground.wait_for_end(job)
        if job.status is Status.FAILED and not text_of(job.message):
            raise ProviderFailed(job)
    return _shown(job)


@blueprint.get("/responses/<response_id>")
def show(response_id: str) -> Response:
    """Show a response as it is now, or follow it from any number on."""
    job = ids.find(ObjectType.RESPONSE, response_id, param="response_id")
    if request.args.get("stream", "") in TRUE:
        return _streamed(job, starting_after())
    return _shown(job)


@blueprint.post("/responses/<response_id>/cancel")
def cancel(response_id: str) -> Response:
    """Cancel a response in the background; again and again is the same."""
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
    """List the items of a response's input."""
    job = ids.find(ObjectType.RESPONSE, response_id, param="response_id")
    sent = (job.wire_request or {}).get("input", [])
    return jsonify(paging.page(item_messages.listed(sent, object.base(job))))


@blueprint.post("/responses/input_tokens")
def input_tokens() -> Response:
    """Estimate how many tokens an input is, with the messages before it and the tools. No provider is called."""
    body = read_body(ResponseInput)
    known.settle(body)
    messages = [*placement.messages_before(body), *item_messages.messages_of(body.items())]
    others = [body.instructions or "", *(orjson.dumps(tool).decode() for tool in parameters(body).get("tools", ()))]
    count = sum(estimate_tokens(text) for text in (*map(text_of, messages), *others))
    return jsonify({"object": "response.input_tokens", "input_tokens": count})


def _shown(job: Job) -> Response:
    response = jsonify(object.shown(job, context().job_logs.so_far(job)))
    if not job.status.is_terminal:
        response.headers["openai-poll-after-ms"] = str(POLL_MS)
    return ids.with_job_id(response, job)


def _streamed(job: Job, number: int) -> Response:
    return foreground.stream(job, EventTranslation(job), context().job_logs.follow(job, 0), number)
