"""Write an answer as this dialect's clients read it: whole, or as the events of a stream."""

from collections.abc import Iterator

import orjson

from api.context import Context
from api.dialects.chatgpt_api_nest.ids import shown_id
from api.http import sse
from api.streaming.follower import HEARTBEAT
from shared.errors import NotFound
from shared.events import CANCELLED, DELTA, FAILED, RESTARTED, STARTED, Event
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Job

NO_SUCH_REQUEST = "No such request id"
WAS_CANCELLED = "The request was cancelled"
OPENING = b"\n"
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def frames(parts: Context, job: Job, cursor: int) -> Iterator[bytes]:
    """Yield a job's log after a cursor, event by event as it grows, until the job is over."""
    yield OPENING
    for event in parts.job_logs.follow(job, cursor):
        if event is HEARTBEAT:
            yield sse.HEARTBEAT_COMMENT
        elif event.type != STARTED:
            yield _frame(_number(event), _fields(parts, job, event))


def unknown_request() -> bytes:
    """Return the one event of a stream that does not exist."""
    return _frame(1, {"error": NO_SUCH_REQUEST})


def answer(job: Job) -> JsonObject:
    """Return a whole answer with its usage."""
    usage = job.usage or {}
    counts = {name: usage.get(name, 0) for name in COUNTS}
    return {"id": _id(job), "content": text_of(job.message), "finish_reason": job.finish_reason, "usage": counts}


def _number(event: Event) -> int:
    """Return an event's id: our log's number, less the `started` that is not shown. It is the same in every process, always."""
    return max(1, event.seq - 1)


def _fields(parts: Context, job: Job, event: Event) -> JsonObject:
    if event.type == DELTA:
        return {"id": _id(job), "delta": event.fields()["delta"].get("content") or "", "finish_reason": None}
    if event.type == RESTARTED:
        return {"id": _id(job), "delta": "", "finish_reason": None, "restarted": True}
    if event.type == FAILED:
        return {"error": event.fields()["error"]["message"]}
    if event.type == CANCELLED:
        return {"error": WAS_CANCELLED}
    try:
        return answer(parts.jobs.find(job.user_id, job.id))
    except NotFound:  # it was deleted after it had ended
        return {"error": NO_SUCH_REQUEST}


def _frame(number: int, data: JsonObject) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (number, orjson.dumps(data))


def _id(job: Job) -> str:
    """Return the id that the answer has among the session's messages, too."""
    return shown_id(job.answer_id or job.id.replace("job_", "msg_"))
