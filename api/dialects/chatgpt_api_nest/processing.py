"""`/chat/process`: ask, and have the answer whole or as a stream that can be read late, twice, and from the middle."""

import uuid
from collections.abc import Iterator
from typing import Any

import orjson
from flask import Response, jsonify, request

from api.context import Context, context
from api.dialects.chatgpt_api_nest.wire import CREATED, Invalid, blueprint, is_uuid, said, shown_id, text
from api.guards import principal
from api.http import sse
from api.http.request_digest import request_digest
from api.jobs import idempotency
from api.jobs.submission import Submission
from api.streaming.follower import HEARTBEAT
from shared.errors import ChatrelayError, NotFound, RateLimited, Unavailable
from shared.events import CANCELLED, DELTA, FAILED, RESTARTED, STARTED, Event
from shared.jobs.error_codes import JobErrorCode
from shared.messages.text import text_of
from shared.models import Job, Status

NO_CONTENT = 204
MAX_DIGITS = 18
NO_SUCH_REQUEST = "No such request id"
WAS_CANCELLED = "The request was cancelled"
FALSE_IN_FORMS = frozenset({"", "0", "false"})
"""A form has nothing but text to say no with."""
ABSENT = frozenset({JobErrorCode.AGENT_NONE, JobErrorCode.DEADLINE_EXCEEDED, JobErrorCode.WORKER_LOST, JobErrorCode.DRAINED})

HEADERS = {
    "Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0, no-transform",
    "Pragma": "no-cache",
    "Expire": "0",
    "X-Accel-Buffering": "no",
}
OPENING = b"\n"


class JobFailed(ChatrelayError):
    """The answer could not be had."""

    def __init__(self, message: str, status: int = ChatrelayError.status) -> None:
        """Keep the status."""
        super().__init__(message)
        self.status = status


@blueprint.post("/chat/process")
def process() -> tuple[Response, int]:
    """Take a message into a session: the answer whole, or an id to read it under."""
    body = said()
    message, session_id = text(body), _session_id(body)
    complaints = [] if message else ["message should not be empty"]
    user_id = principal().user_id
    if "sessionId" in body and session_id is not None and not _can_open(user_id, session_id):
        complaints.append("sessionId must be a UUID")
    if complaints:
        raise Invalid(*complaints)
    key = request.headers.get("Idempotency-Key")
    name = session_id or _new_id(user_id, key)
    ask = Submission(message={"role": "user", "content": message}, conversation_id=name, opens=True, title=message)
    job = context().submitter.submit(user_id, ask, idempotency.key_of(key, request_digest))
    if _wants_stream(body):
        return jsonify(session_id=name, request_id=job.id), CREATED
    return jsonify(session_id=name, **_answer(_completed(context().jobs.wait_for_end(job)))), CREATED


@blueprint.get("/chat/process/<request_id>")
def read(request_id: str) -> Response:
    """Read an answer, from its beginning or behind `Last-Event-ID`."""
    seen = _last_event_id()
    try:
        job = context().jobs.find(principal().user_id, request_id)
    except NotFound:
        if seen:  # it has heard so, or what it was reading is gone: let it not come back for ever
            return Response(status=NO_CONTENT)
        return _stream(iter((OPENING, _frame(1, {"error": NO_SUCH_REQUEST}))))
    cursor = seen + 1 if seen else 0
    if job.last_seq is not None and seen and cursor >= job.last_seq:
        return Response(status=NO_CONTENT)
    return _stream(_frames(context(), job, cursor))


def _stream(frames: Iterator[bytes]) -> Response:
    response = sse.respond(frames)
    response.headers.update(HEADERS)
    response.headers["Content-Type"] = "text/event-stream"
    return response


def _frames(here: Context, job: Job, cursor: int) -> Iterator[bytes]:
    yield OPENING
    for event in here.job_logs.follow(job, cursor):
        if event is HEARTBEAT:
            yield sse.HEARTBEAT_COMMENT
        elif event.type != STARTED:
            yield _frame(_number(event), _told(here, job, event))


def _number(event: Event) -> int:
    """Number an event: our log's number, less the `started` that is not shown. So it is the same in every process, for ever."""
    return max(1, event.seq - 1)


def _told(here: Context, job: Job, event: Event) -> dict[str, Any]:
    if event.type == DELTA:
        return {"id": _id(job), "delta": event.fields()["delta"].get("content") or "", "finish_reason": None}
    if event.type == RESTARTED:
        return {"id": _id(job), "delta": "", "finish_reason": None, "restarted": True}
    if event.type == FAILED:
        return {"error": event.fields()["error"]["message"]}
    if event.type == CANCELLED:
        return {"error": WAS_CANCELLED}
    try:
        return _answer(here.jobs.find(job.user_id, job.id))
    except NotFound:  # deleted, between its end and this
        return {"error": NO_SUCH_REQUEST}


def _frame(number: int, data: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (number, orjson.dumps(data))


def _answer(job: Job) -> dict[str, Any]:
    usage = job.usage or {}
    counted = {name: usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return {"id": _id(job), "content": text_of(job.message), "finish_reason": job.finish_reason, "usage": counted}


def _id(job: Job) -> str:
    """Show the id that the answer has among the session's messages, too."""
    return shown_id(job.answer_id or job.id.replace("job_", "msg_"))


def _completed(job: Job) -> Job:
    """Let an answer pass.

    Raises:
        Invalid: the message was flagged.
        RateLimited: the provider has had enough.
        Unavailable: nobody could answer in time, or the provider cannot now.
        JobFailed: the provider, or we, failed otherwise.
    """
    if job.status is Status.CANCELLED:
        raise JobFailed(WAS_CANCELLED)
    if job.status is not Status.FAILED:
        return job
    error = job.error or {}
    message = error.get("message") or "Internal server error"
    if error.get("code") == JobErrorCode.CONTENT_FLAGGED:
        raise Invalid(message)
    if error.get("provider_status") == RateLimited.status:
        raise RateLimited(message)
    if error.get("code") in ABSENT or error.get("provider_status") == Unavailable.status:
        raise Unavailable(message)
    raise JobFailed(message)


def _session_id(body: dict[str, Any]) -> str | None:
    """Read the session's id, under its newer or its older name; an empty one is none."""
    given = body.get("sessionId") or body.get("session_id")
    if given and not isinstance(given, str):
        raise Invalid("sessionId must be a UUID")
    return given or None


def _new_id(user_id: str, key: str | None) -> str:
    """Make a session's id; of a request that may come again, always the same."""
    return str(uuid.uuid4() if key is None else uuid.uuid5(uuid.NAMESPACE_OID, f"{user_id} {key}"))


def _can_open(user_id: str, session_id: str) -> bool:
    return is_uuid(session_id) or context().conversations.find(user_id, session_id) is not None


def _wants_stream(body: dict[str, Any]) -> bool:
    """Tell whether `stream` is true, by JavaScript's rules in JSON: there the text `false` is."""
    wanted = body.get("stream")
    if request.is_json:
        return bool(wanted) or isinstance(wanted, dict | list)
    return str(wanted or "").lower() not in FALSE_IN_FORMS


def _last_event_id() -> int:
    given = request.headers.get("Last-Event-ID") or "0"
    if not (given.isascii() and given.isdecimal() and len(given) <= MAX_DIGITS):
        raise Invalid("Last-Event-ID must be a number")
    return int(given)
