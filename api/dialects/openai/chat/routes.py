"""`/v1/chat/completions`: create, and take up the stream of one again."""

from collections.abc import Iterator
from itertools import chain

from flask import Blueprint, Response, jsonify

from api.context import context
from api.dialects.openai import foreground, ids, unknown
from api.dialects.openai.chat import answer
from api.dialects.openai.chat.request import ChatRequest, submission
from api.dialects.openai.errors import ProviderFailed
from api.dialects.openai.request import idempotency_key, read_body, starting_after
from api.dialects.openai.sse import FROM_THE_START, frames
from api.guards import principal
from api.http import sse
from api.streaming.follower import HEARTBEAT
from shared import events
from shared.errors import Unavailable
from shared.events import Event
from shared.models import Job, ObjectType

blueprint = Blueprint("chat", __name__)


@blueprint.post("/chat/completions")
def create() -> Response:
    """Create a chat completion, whole or streamed."""
    body = read_body(ChatRequest)
    unknown.judge(body, may_forward=True)
    key = idempotency_key()
    job = context().submitter.submit(principal().user_id, submission(body), key)
    if body.stream:
        with foreground.reading(job):
            log = begun(job, context().job_logs.follow(job, 0))
        return _streamed(job, log, FROM_THE_START)
    job = foreground.wait_for_end(job)
    if not job.status.has_answer:
        raise ProviderFailed(job)
    whole_log = context().job_logs.so_far(job) if answer.needs_log(job) else ()
    return ids.with_job_id(jsonify(answer.completion(job, whole_log)), job)


def begun(job: Job, log: Iterator[Event | None]) -> Iterator[Event | None]:
    """Wait until there is something to show, or it has been quiet for a while: what fails before that is answered by a status.

    Raises:
        ProviderFailed: there is no answer.
        NotFound: it was deleted meanwhile.
        Unavailable: this process stops, or Redis is away for long; the SDK's next try is the same job.
    """
    first: list[Event | None] = []
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
    return _streamed(job, context().job_logs.follow(job, 0), starting_after())


def _streamed(job: Job, log: Iterator[Event | None], number: int) -> Response:
    jobs = context().jobs  # the stream goes on when the request's context is gone
    translation = answer.ChunkTranslation(job, number)
    written = frames(translation, log, lambda: jobs.find(job.user_id, job.id), number)
    return ids.with_job_id(sse.respond(foreground.while_read(job, written)), job)
