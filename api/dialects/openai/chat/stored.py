"""`/v1/chat/completions` that were stored: list, show, change their metadata, delete; the messages that they answer."""

import re

from flask import Blueprint, Response, jsonify, request

from api.context import context
from api.dialects.openai import ids, paging
from api.dialects.openai.chat import answer
from api.dialects.openai.chat.routes import whole
from api.dialects.openai.request import read_body
from api.guards import principal
from api.http.bodies import Body
from api.schemas.jobs import Metadata
from shared.errors import NotFound
from shared.json_types import JsonObject
from shared.models import Job, ObjectType

_METADATA = re.compile(r"metadata\[(.{1,64})\]")

blueprint = Blueprint("stored_chat", __name__)


@blueprint.get("/chat/completions")
def index() -> Response:
    """List the stored chat completions, the oldest first unless the query has an order; of one model, or with some metadata."""
    is_descending, limit = paging.is_descending(paging.ASCENDING), paging.limit()
    after = request.args.get("after")
    metadata = {match[1]: value for name, value in request.args.items() if (match := _METADATA.fullmatch(name))}
    jobs, has_more = context().job_lists.chat_completions(
        principal().user_id,
        after=_stored(after, param="after") if after else None,
        limit=limit,
        is_descending=is_descending,
        model=request.args.get("model"),
        labels=metadata,
    )
    return jsonify(paging.listed([answer.completion(job) for job in jobs], has_more=has_more))


@blueprint.get("/chat/completions/<completion_id>")
def show(completion_id: str) -> Response:
    """Show a stored chat completion."""
    return jsonify(whole(_answered(completion_id)))


class Update(Body):
    """What of a stored chat completion can be changed."""

    metadata: Metadata | None


@blueprint.post("/chat/completions/<completion_id>")
def change(completion_id: str) -> Response:
    """Change a stored chat completion's metadata."""
    body = read_body(Update)
    job = _answered(completion_id)
    context().jobs.set_labels(job.id, body.metadata or {})
    return jsonify(answer.completion(_answered(completion_id)))


@blueprint.delete("/chat/completions/<completion_id>")
def remove(completion_id: str) -> Response:
    """Delete a stored chat completion."""
    job = _stored(completion_id)
    context().jobs.remove(job.user_id, job.id)
    return jsonify({"id": completion_id, "object": "chat.completion.deleted", "deleted": True})


@blueprint.get("/chat/completions/<completion_id>/messages")
def messages(completion_id: str) -> Response:
    """List the messages that a stored chat completion answers."""
    sent = _answered(completion_id).request["messages"]
    views = [_message(f"{completion_id}-{place}", message) for place, message in enumerate(sent)]
    return jsonify(paging.page(views, paging.ASCENDING))


def _message(message_id: str, message: JsonObject) -> JsonObject:
    parts = message.get("content")
    if not isinstance(parts, list):
        return {"content": None, **message, "id": message_id, "content_parts": None}
    return {**message, "id": message_id, "content": None, "content_parts": parts}


def _stored(completion_id: str, param: str = "completion_id") -> Job:
    job = ids.find(ObjectType.CHAT_COMPLETION, completion_id, param=param)
    if not job.stored:
        raise ids.unknown(ObjectType.CHAT_COMPLETION, completion_id, param=param)
    return job


def _answered(completion_id: str) -> Job:
    job = _stored(completion_id)
    if not job.status.has_answer:
        raise NotFound(f"The chat completion '{completion_id}' has no answer.", param="completion_id")
    return job
