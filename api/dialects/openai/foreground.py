"""Submit jobs and read their answers as clients of OpenAI's do, who in the foreground can only stop them by hanging up."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from flask import Response, request

from api.context import context
from api.dialects.openai import ids
from api.dialects.openai.request import idempotency_key
from api.dialects.openai.sse import FROM_THE_START, Translation, frames
from api.guards import principal
from api.http import sse
from api.jobs.submission import Submission
from shared.events import Event
from shared.models import Job

SOCKET = "gunicorn.socket"


def submit(asked: Submission) -> Job:
    """Submit for the caller, by the request's idempotency key."""
    return context().submitter.submit(principal().user_id, asked, idempotency_key())


def wait_for_end(job: Job) -> Job:
    """Wait until a job is over, as one of its readers; see `Jobs.wait_for_end`."""
    with reading(job):
        return context().jobs.wait_for_end(job)


def stream(job: Job, translation: Translation, log: Iterator[Event | None], number: int = FROM_THE_START) -> Response:
    """Stream a job's log, translated, after a number; the client is one of the job's readers for as long as it reads."""
    jobs = context().jobs  # the stream goes on when the request's context is gone
    written = frames(translation, log, lambda: jobs.find(job.user_id, job.id), number)
    if not _in_background(job):
        written = context().reader_presence.while_read(job.id, request.environ.get(SOCKET), written)
    return ids.with_job_id(sse.respond(written), job)


def reading(job: Job) -> AbstractContextManager[None]:
    """Count this request's client as one of a job's readers for as long as the block runs."""
    return nullcontext() if _in_background(job) else context().reader_presence.reading(job.id, request.environ.get(SOCKET))


def _in_background(job: Job) -> bool:
    return bool((job.wire_request or {}).get("background")) or job.status.is_terminal
