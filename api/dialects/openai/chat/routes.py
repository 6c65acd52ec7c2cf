"""`/v1/chat/completions`: create, and take up the stream of one again."""

from collections.abc import Iterator
from itertools import chain

from flask import Blueprint, Response, jsonify

from api.context import context
from api.dialects.openai import foreground, ids, unknown
from api.dialects.openai.chat import answer
from api.dialects.openai.chat.request import ChatRequest, submission
from api.dialects.openai.errors import ProviderFailed
from api.dialects.openai.request import read_body, starting_after
from api.streaming.follower import HEARTBEAT
from shared import events
from shared.errors import Unavailable
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job, ObjectType

blueprint = Blueprint("chat", __name__)


@blueprint.post("/chat/completions")
def create() -> Response:
    """Create a chat completion, whole or streamed."""
    body = read_body(ChatRequest)
    unknown.judge(body, may_forward=True)
    job = foreground.submit(submission(body))
    if body.stream:
        return foreground.stream(job, answer.ChunkTranslation(job), begun(job))
    job, completion = answered(job)
    return ids.with_job_id(jsonify(completion), job)


def answered(job: Job) -> tuple[Job, JsonObject]:
    """Wait for an answer, and return the job as it ended and its chat completion.

    Raises:
        ProviderFailed: there is none.
    """
    job = foreground.wait_for_end(job)
    if not job.status.has_answer:
        raise ProviderFailed(job)
    return job, whole(job)


def whole(job: Job) -> JsonObject:
    """Return the chat completion that a job's answer is."""
    return answer.completion(job, context().job_logs.so_far(job) if answer.needs_log(job) else ())


def begun(job: Job) -> Iterator[Event | None]:
    """Follow a log, once there is something to show, or it has been quiet for a while: what fails before is answered by a status.

    Raises:
        ProviderFailed: there is no answer.
        NotFound: it was deleted meanwhile.
        Unavailable: this process stops, or Redis is away for long; the SDK's next try is the same job.
    """
    log = context().job_logs.follow(job, 0)
    first: list[Event | None] = []
    with foreground.reading(job):
        for event in log:
            first.append(event)
            if event is HEARTBEAT or event.type not in (events.STARTED, events.RESTARTED):
                break
        else:
            context().jobs.find(job.user_id, job.id)
            raise Unavailable("The stream was cut off before it began; try again.")
    if event is not HEARTBEAT and event.type in (events.FAILED, events.CANCELLED):
        raise ProviderFailed(context().jobs.find(job.user_id, job.id))
    return chain(first, log)


@blueprint.get("/chat/completions/<completion_id>/stream")
def stream(completion_id: str) -> Response:
    """Take a chat completion's stream up again, after a number."""
    job = ids.find(ObjectType.CHAT_COMPLETION, completion_id, param="completion_id")
    number = starting_after()
    return foreground.stream(job, answer.ChunkTranslation(job, number), context().job_logs.follow(job, 0), number)
