"""`/chat/process`: send a message, and have the answer whole, or as a stream that can be read late, twice, and from the middle."""

from http import HTTPStatus

from flask import Response, jsonify, request

from api.context import context
from api.dialects.chatgpt_api_nest.answer_stream import OPENING, WAS_CANCELLED, answer, frames, unknown_request
from api.dialects.chatgpt_api_nest.blueprint import Invalid, blueprint
from api.dialects.chatgpt_api_nest.ids import is_uuid, new_session_id
from api.dialects.chatgpt_api_nest.request_fields import message_text, read_body, session_id, wants_stream
from api.guards import principal
from api.http import sse
from api.http.params import MAX_SEQ_DIGITS
from api.http.request_digest import request_digest
from api.jobs import idempotency
from api.jobs.submission import Place, Submission
from shared.digits import digits
from shared.errors import ChatrelayError, NotFound, RateLimited, Unavailable
from shared.models import Job, Status
from shared.models.error_codes import JobErrorCode

UNAVAILABLE = frozenset({JobErrorCode.AGENT_NONE, JobErrorCode.DEADLINE_EXCEEDED, JobErrorCode.WORKER_LOST, JobErrorCode.DRAINED})
"""The error codes of jobs that nobody could answer in time."""

HEADERS = {
    "Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0, no-transform",
    "Pragma": "no-cache",
    "Expire": "0",
    "X-Accel-Buffering": "no",
    "Content-Type": "text/event-stream",
}


class JobFailed(ChatrelayError):
    """The job ended without an answer."""


@blueprint.post("/chat/process")
def process() -> tuple[Response, int]:
    """Take a message into a session; return the answer whole, or an id to read it under."""
    body = read_body()
    message, known_id = message_text(body), session_id(body)
    complaints = [] if message else ["message should not be empty"]
    user_id = principal().user_id
    if "sessionId" in body and known_id is not None and not _can_open(user_id, known_id):
        complaints.append("sessionId must be a UUID")
    if complaints:
        raise Invalid(*complaints)
    key = request.headers.get("Idempotency-Key")
    name = known_id or new_session_id(user_id, key)
    place = Place(name, may_create=True, title=message)
    submission = Submission(turn=[{"role": "user", "content": message}], place=place)
    job = context().submitter.submit(user_id, submission, idempotency.key_of(key, request_digest))
    if wants_stream(body):
        return jsonify(session_id=name, request_id=job.id), HTTPStatus.CREATED
    return jsonify(session_id=name, **answer(_answered(context().jobs.wait_for_end(job)))), HTTPStatus.CREATED


@blueprint.get("/chat/process/<request_id>")
def read(request_id: str) -> Response:
    """Stream an answer, from its beginning or after `Last-Event-ID`."""
    last_id = _last_event_id()
    try:
        job = context().jobs.find(principal().user_id, request_id)
    except NotFound:
        if last_id:  # the reader was told so, or what it was reading was deleted: keep it from connecting for ever
            return Response(status=HTTPStatus.NO_CONTENT)
        response = sse.respond(iter((OPENING, unknown_request())))
    else:
        cursor = last_id + 1 if last_id else 0
        if job.last_seq is not None and last_id and cursor >= job.last_seq:
            return Response(status=HTTPStatus.NO_CONTENT)
        response = sse.respond(frames(context(), job, cursor))
    response.headers.update(HEADERS)
    return response


def _can_open(user_id: str, name: str) -> bool:
    """Return whether a session can go on, or begin, under a name."""
    return is_uuid(name) or context().conversations.find(user_id, name) is not None


def _last_event_id() -> int:
    given = request.headers.get("Last-Event-ID") or request.args.get("lastEventId")  # the second is event-source-polyfill's
    last_id = digits(given or "0", MAX_SEQ_DIGITS)
    if last_id is None:
        raise Invalid("Last-Event-ID must be a number")
    return last_id


def _answered(job: Job) -> Job:
    """Return a job that has an answer.

    Raises:
        Invalid: the message was flagged.
        RateLimited: the provider limited the rate.
        Unavailable: nobody could answer in time, or the provider cannot now.
        JobFailed: the job was cancelled, or failed otherwise.
    """
    if job.status is Status.CANCELLED:
        raise JobFailed(WAS_CANCELLED)
    if job.status is not Status.FAILED:
        return job
    error = job.error or {}
    message = error.get("message") or "Internal server error"
    if error.get("code") == JobErrorCode.CONTENT_FLAGGED:
        raise Invalid(message)
    if error.get("provider_status") == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited(message)
    if error.get("code") in UNAVAILABLE or error.get("provider_status") == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Unavailable(message)
    raise JobFailed(message)
