"""`/jobs/{id}/events`: a job's log over SSE, from any cursor."""

from collections.abc import Iterator
from http import HTTPStatus

from flask import Response, request
from flask_openapi import APIBlueprint, Tag

from api.context import context
from api.guards import principal, require_reader
from api.http import sse
from api.http.params import MAX_SEQ_DIGITS
from api.schemas.answers import ErrorAnswer
from api.schemas.jobs import EventsQuery, JobPath
from api.streaming.batch import DirectReader
from api.streaming.direct import direct_writer
from api.streaming.follower import HEARTBEAT
from shared.digits import digits
from shared.errors import InvalidRequest
from shared.events import Event

blueprint = APIBlueprint(
    "events",
    __name__,
    url_prefix="/jobs",
    abp_tags=[Tag(name="Jobs")],
    abp_security=[{"bearer": []}, {"ticket": []}],
    abp_responses={400: ErrorAnswer, 401: ErrorAnswer, 404: ErrorAnswer},
)
blueprint.before_request(require_reader)


@blueprint.get("/<job_id>/events", responses={200: {"content": {"text/event-stream": {}}, "description": "The log."}, 204: None})
def stream(path: JobPath, query: EventsQuery) -> Response:
    """Read a job's events after a cursor, live or later; answers 204 when there is nothing after it and never will be."""
    cursor = _cursor(query)
    job = context().jobs.find(principal().user_id, path.job_id)
    if job.last_seq is not None and cursor >= job.last_seq:
        return Response(status=HTTPStatus.NO_CONTENT)
    writer = direct_writer(request.environ)
    direct = DirectReader(writer, _frame) if writer else None
    return sse.respond(_frames(context().job_logs.follow(job, cursor, direct)))


def _cursor(query: EventsQuery) -> int:
    """Read where to go on. What a client sends by itself as it reconnects beats what its address said from the beginning."""
    name, given = "Last-Event-ID", request.headers.get("Last-Event-ID")
    if given is None and query.last_event_id:
        name, given = "lastEventId", query.last_event_id
    elif given is None:
        name, given = "after", query.after
    cursor = digits(given or "0", MAX_SEQ_DIGITS)
    if cursor is None:
        raise InvalidRequest("A cursor is a sequence number: 0, 1, 2, …", param=name)
    return cursor


def _frames(events: Iterator[Event | None]) -> Iterator[bytes]:
    yield sse.OPENING
    for event in events:
        yield sse.HEARTBEAT_COMMENT if event is HEARTBEAT else _frame(event)


def _frame(event: Event) -> bytes:
    return sse.frame(event.seq, event.type, event.data)
