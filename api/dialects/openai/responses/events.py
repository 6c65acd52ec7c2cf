"""The event stream of a response: a pure function of its job's row and log, so that every reader gets the same bytes.

What comes before anything is said is told by what of the row never changes; the end by the row as it is once it is over.
"""

from collections.abc import Callable, Iterable, Iterator

from api.dialects.openai.responses import object
from api.dialects.openai.responses.output import COMPLETED, INCOMPLETE, Output
from api.dialects.openai.wire import CUT, DONE, GONE, HEARTBEAT, chunk, event
from shared import events
from shared.errors import NotFound, Unavailable
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job, Status

FROM_THE_START = -1
NUMBERS_PER_EVENT = 16
"""Room for the numbers of one event of the log, where numbers jump with it: after the one jump that a log may make, who saw what
was lost and who did not are told the same numbers again."""


def frames(job: Job, told: Iterable[Event | None], ended: Callable[[], Job], starting_after: int) -> Iterator[bytes]:
    """Write a response's events after a number, to the end.

    Args:
        job: its row, as it was at any time.
        told: its log from the start, with None where it has been quiet for a while. It may break off; then so does this, with an
            error that the SDK raises, and the reader comes back with its number.
        ended: reads the row once the job is over; it may have been deleted.
        starting_after: the last number that the reader has seen; -1: none.
    """
    translation = Translation(job)
    yield from _after(starting_after, translation.opening())
    try:
        for said in told:
            if said is None:
                yield HEARTBEAT
                continue
            yield from _after(starting_after, translation.said(said, ended))
            if said.is_terminal:
                yield DONE
                return
    except NotFound:
        yield chunk({"error": GONE})
    except Unavailable:
        yield chunk({"error": CUT})
    else:
        yield chunk({"error": CUT})


def _after(number: int, told: Iterable[JsonObject]) -> Iterator[bytes]:
    return (event(fields) for fields in told if fields["sequence_number"] > number)


class Translation:
    """A log's way into OpenAI's events, one event after the other, numbered from 0 without a gap."""

    def __init__(self, job: Job) -> None:
        """Begin at the log's start."""
        self._job = job
        self._in_background = bool((job.wire_request or {}).get("background"))
        self._output = Output(object.base(job))
        self._number = 0
        self._has_started = False

    def opening(self) -> Iterator[JsonObject]:
        """Tell that the response is there, before its log says anything."""
        first = Status.QUEUED if self._in_background else Status.IN_PROGRESS
        yield self._lifecycle("response.created", object.begun(self._job, first))
        if self._in_background:
            yield self._lifecycle("response.queued", object.begun(self._job, Status.QUEUED))

    def said(self, said: Event, ended: Callable[[], Job]) -> Iterator[JsonObject]:
        """Tell one event of the log; `ended` reads the row at the terminal one."""
        if said.type == events.DELTA:
            yield from self._numbered(self._output.add(said.fields()["delta"]))
        elif said.is_terminal:
            yield from self._end(said.type, ended())
        else:
            yield from self._start()
            yield from self._numbered(self._output.drop())
            if said.is_legal_jump:
                self._number = max(self._number, NUMBERS_PER_EVENT * said.seq)

    def _start(self) -> Iterator[JsonObject]:
        if not self._has_started:
            self._has_started = True
            yield self._lifecycle("response.in_progress", object.begun(self._job, Status.IN_PROGRESS))

    def _end(self, kind: str, job: Job) -> Iterator[JsonObject]:
        is_said = kind in (events.COMPLETED, events.INCOMPLETE)
        yield from self._numbered(self._output.end(COMPLETED if kind == events.COMPLETED else INCOMPLETE, is_whole=is_said))
        whole = object.ended(job, self._output)
        if kind == events.FAILED:
            error = whole["error"]
            yield self._next({"type": "error", "code": error["code"], "message": error["message"], "param": None})
        yield self._lifecycle(f"response.{kind}", whole)

    def _lifecycle(self, kind: str, response: JsonObject) -> JsonObject:
        return self._next({"type": kind, "response": response})

    def _numbered(self, told: Iterable[JsonObject]) -> Iterator[JsonObject]:
        return (self._next(fields) for fields in told)

    def _next(self, fields: JsonObject) -> JsonObject:
        numbered = {"type": fields["type"], "sequence_number": self._number, **fields}
        self._number += 1
        return numbered
