"""`/v1/chat/completions`: create, take up again, and what was stored."""

import re
from collections.abc import Iterator
from itertools import chain

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import ColumnElement, func, select, update

from api.context import context
from api.dialects.openai import paging, wire
from api.dialects.openai.chat import answer
from api.dialects.openai.chat.request import ChatRequest, ask
from api.dialects.openai.failures import ProviderFailed
from api.guards import principal
from api.http import sse
from api.http.bodies import Body
from api.http.request_digest import request_digest
from api.jobs import idempotency
from api.schemas.jobs import Metadata
from shared import events
from shared.errors import NotFound, Unavailable
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job, ObjectType, Status

ANSWERED = (Status.COMPLETED, Status.INCOMPLETE)

_METADATA = re.compile(r"metadata\[(.{1,64})\]")

blueprint = Blueprint("chat", __name__)


@blueprint.post("/chat/completions")
def create() -> Response:
    """Create a chat completion, whole or streamed."""
    body = wire.read(ChatRequest)
    key = idempotency.key_of(request.headers.get("Idempotency-Key"), request_digest, wire.retry())
    job = context().submitter.submit(principal().user_id, ask(body), key)
    if body.stream:
        return _streamed(job, _begun(job, context().job_logs.follow(job, 0)), answer.FROM_THE_START)
    job = context().jobs.wait_for_end(job)
    if job.status not in ANSWERED:
        raise ProviderFailed(job)
    return wire.marked(jsonify(answer.completion(job)), job)


def _begun(job: Job, told: Iterator[Event | None]) -> Iterator[Event | None]:
    """Wait until there is something to show, or it has been quiet for a while: what fails before that is told as a status.

    Raises:
        ProviderFailed: there is no answer.
        NotFound: it was deleted meanwhile.
        Unavailable: this process stops, or Redis is away for long; the SDK's next try is the same job.
    """
    held: list[Event | None] = []
    for said in told:
        held.append(said)
        if said is None or said.type not in (events.STARTED, events.RESTARTED):
            break
    else:
        context().jobs.find(job.user_id, job.id)
        raise Unavailable("The stream was cut off before it began; try again.")
    if said is not None and said.type in (events.FAILED, events.CANCELLED):
        raise ProviderFailed(context().jobs.find(job.user_id, job.id))
    return chain(held, told)


@blueprint.get("/chat/completions/<completion_id>/stream")
def stream(completion_id: str) -> Response:
    """Take a chat completion's stream up again, after a number."""
    job = wire.find(ObjectType.CHAT_COMPLETION, completion_id, param="completion_id")
    return _streamed(job, context().job_logs.follow(job, 0), wire.starting_after())


def _streamed(job: Job, told: Iterator[Event | None], starting_after: int) -> Response:
    here = context()
    frames = answer.frames(job, told, lambda: here.jobs.find(job.user_id, job.id), starting_after)
    return wire.marked(sse.respond(frames), job)


@blueprint.get("/chat/completions")
def index() -> Response:
    """List the stored chat completions, the oldest first unless asked otherwise; of one model, or with some metadata."""
    is_descending, limit = paging.is_descending(paging.ASCENDING), paging.limit()
    mine = Job.user_id == principal().user_id
    query = select(Job).where(mine, Job.wire == ObjectType.CHAT_COMPLETION, Job.stored, Job.status.in_(ANSWERED))
    if after := request.args.get("after"):
        last = _stored(after, param="after")
        later = (Job.created_ms > last.created_ms) | ((Job.created_ms == last.created_ms) & (Job.id > last.id))
        earlier = (Job.created_ms < last.created_ms) | ((Job.created_ms == last.created_ms) & (Job.id < last.id))
        query = query.where(earlier if is_descending else later)
    if model := request.args.get("model"):
        query = query.where(Job.model == model)
    for name, value in request.args.items():
        if found := _METADATA.fullmatch(name):
            query = query.where(_has_label(found[1], value))
    order = (Job.created_ms.desc(), Job.id.desc()) if is_descending else (Job.created_ms, Job.id)
    with context().database.read() as session:
        jobs = list(session.scalars(query.order_by(*order).limit(limit + 1)))
    return jsonify(paging.listed([answer.completion(job) for job in jobs[:limit]], has_more=len(jobs) > limit))


def _has_label(name: str, value: str) -> ColumnElement[bool]:
    """Look for a pair in the metadata; SQLite's way to a field by its name knows no quotes and nothing beyond ASCII."""
    pairs_of = func.json_each if context().database.is_sqlite else func.json_each_text
    pair = pairs_of(Job.labels).table_valued("key", "value")
    return select(pair).where(pair.c.key == name, pair.c.value == value).exists()


@blueprint.get("/chat/completions/<completion_id>")
def show(completion_id: str) -> Response:
    """Show a stored chat completion."""
    return jsonify(answer.completion(_answered(completion_id)))


class Update(Body):
    """What of a stored chat completion can be changed."""

    metadata: Metadata | None


@blueprint.post("/chat/completions/<completion_id>")
def change(completion_id: str) -> Response:
    """Change a stored chat completion's metadata."""
    body = wire.read(Update)
    job = _answered(completion_id)
    with context().database.write() as session:
        session.execute(update(Job).where(Job.id == job.id).values(labels=body.metadata or {}))
    return jsonify(answer.completion(_answered(completion_id)))


@blueprint.delete("/chat/completions/<completion_id>")
def remove(completion_id: str) -> Response:
    """Delete a stored chat completion."""
    job = _stored(completion_id)
    context().jobs.remove(job.user_id, job.id)
    return jsonify({"id": completion_id, "object": "chat.completion.deleted", "deleted": True})


@blueprint.get("/chat/completions/<completion_id>/messages")
def messages(completion_id: str) -> Response:
    """List the messages that a stored chat completion was asked with."""
    job = _answered(completion_id)
    told = [_message(f"{completion_id}-{place}", said) for place, said in enumerate(job.request["messages"])]
    return jsonify(paging.page(told, paging.ASCENDING))


def _message(message_id: str, said: JsonObject) -> JsonObject:
    parts = said.get("content")
    if not isinstance(parts, list):
        return {"content": None, **said, "id": message_id, "content_parts": None}
    return {**said, "id": message_id, "content": None, "content_parts": parts}


def _stored(completion_id: str, param: str = "completion_id") -> Job:
    job = wire.find(ObjectType.CHAT_COMPLETION, completion_id, param=param)
    if not job.stored:
        raise wire.unknown(ObjectType.CHAT_COMPLETION, completion_id, param=param)
    return job


def _answered(completion_id: str) -> Job:
    job = _stored(completion_id)
    if job.status not in ANSWERED:
        raise NotFound(f"The chat completion '{completion_id}' has no answer.", param="completion_id")
    return job
