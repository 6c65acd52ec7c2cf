"""The event stream of a response: a pure function of its job's row and log, so that every reader gets the same bytes.

What comes before the log's first event follows from what of the row never changes; the end from the row as it is once it is over.
"""

from collections.abc import Callable, Iterable, Iterator

from api.dialects.openai.responses import object
from api.dialects.openai.responses.output import COMPLETED, INCOMPLETE, Output
from api.dialects.openai.sse import named
from shared import events
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job, Status

NUMBERS_PER_EVENT = 16
"""Room for the numbers of one event of the log, where numbers jump with it: after the one jump that a log may make, readers who saw
what was lost and readers who did not are sent the same numbers again."""


class EventTranslation:
    """A log in the events of a response, numbered from 0 without a gap."""

    def __init__(self, job: Job) -> None:
        """Begin at the log's start."""
        self.is_over = False
        self._job = job
        self._in_background = bool((job.wire_request or {}).get("background"))
        self._output = Output(object.base(job))
        self._number = 0
        self._has_started = False

    @property
    def is_whole(self) -> bool:
        """Whether it has ended as it should: each of its ends is an event of the answer."""
        return self.is_over

    def opening(self) -> Iterator[JsonObject]:
        """Yield that the response is there, before the log's first event."""
        first = Status.QUEUED if self._in_background else Status.IN_PROGRESS
        yield self._lifecycle("response.created", object.begun(self._job, first))
        if self._in_background:
            yield self._lifecycle("response.queued", object.begun(self._job, Status.QUEUED))

    def write(self, fields: JsonObject) -> bytes:
        """Write one event, under its name."""
        return named(fields)

    def translate(self, event: Event, read_ended: Callable[[], Job]) -> Iterator[JsonObject]:
        """Yield the events that one event of the log is; `read_ended` reads the row at the terminal one."""
        if event.type == events.DELTA:
            yield from self._numbered(self._output.add(event.fields()["delta"]))
        elif event.is_terminal:
            yield from self._end(event.type, read_ended())
        else:
            yield from self._start()
            yield from self._numbered(self._output.drop())
            if event.is_legal_jump:
                self._number = max(self._number, NUMBERS_PER_EVENT * event.seq)

    def _start(self) -> Iterator[JsonObject]:
        if not self._has_started:
            self._has_started = True
            yield self._lifecycle("response.in_progress", object.begun(self._job, Status.IN_PROGRESS))

    def _end(self, kind: str, job: Job) -> Iterator[JsonObject]:
        is_whole = kind in (events.COMPLETED, events.INCOMPLETE)
        yield from self._numbered(self._output.end(COMPLETED if kind == events.COMPLETED else INCOMPLETE, is_whole=is_whole))
        response = object.ended(job, self._output)
        if kind == events.FAILED:
            error = response["error"]
            yield self._next({"type": "error", "code": error["code"], "message": error["message"], "param": None})
        yield self._lifecycle(f"response.{kind}", response)
        self.is_over = True

    def _lifecycle(self, kind: str, response: JsonObject) -> JsonObject:
        return self._next({"type": kind, "response": response})

    def _numbered(self, unnumbered: Iterable[JsonObject]) -> Iterator[JsonObject]:
        return (self._next(fields) for fields in unnumbered)

    def _next(self, fields: JsonObject) -> JsonObject:
        numbered = {"type": fields["type"], "sequence_number": self._number, **fields}
        self._number += 1
        return numbered
