"""Streams as the SDK reads them: a job's log, translated event by event, to its end or to an error that the SDK raises."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import orjson

from api.streaming.follower import HEARTBEAT
from shared.errors import NotFound, Unavailable
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job

FROM_THE_START = -1
"""The number to stream after for a reader who has seen nothing."""

KEEP_ALIVE_COMMENT = b": keep-alive\n"
"""A comment with a single newline: after a blank line the SDK would take it for an empty event (openai-python#2722)."""
DONE = b"data: [DONE]\n\n"
CUT = {
    "message": "The stream was cut off, and its answer is made all the same: come back with the last sequence_number.",
    "type": "server_error",
    "param": None,
    "code": "stream_cut",
}
"""What a stream ends with when its process stops, or Redis is away for long. The SDK raises it; otherwise it would take what it has
got for the whole. It is no event of the answer, and has no number."""
GONE = {"message": "This was deleted.", "type": "invalid_request_error", "param": None, "code": "not_found"}


class Translation(Protocol):
    """A log in the events of one object type, each numbered by its `sequence_number`."""

    @property
    def is_over(self) -> bool:
        """Whether nothing follows any more."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether it has ended as it should, so that the stream ends with `[DONE]`."""
        ...

    def opening(self) -> Iterable[JsonObject]:
        """Yield what comes before the log's first event."""
        ...

    def translate(self, event: Event, read_ended: Callable[[], Job]) -> Iterable[JsonObject]:
        """Yield what one event of the log is; `read_ended` reads the row at the terminal one."""
        ...

    def write(self, fields: JsonObject) -> bytes:
        """Write one of its events."""
        ...


def frames(
    translation: Translation, log: Iterable[Event | None], read_ended: Callable[[], Job], starting_after: int
) -> Iterator[bytes]:
    """Write the events after a number, to the end.

    Args:
        translation: at its start.
        log: the job's log from the start, with heartbeats. It may break off; then so does this, with an error that the SDK raises,
            and the reader comes back with the last number.
        read_ended: reads the row once the job is over; it may have been deleted.
        starting_after: the last number that the reader has seen; -1: none.
    """

    def written(events: Iterable[JsonObject]) -> Iterator[bytes]:
        return (translation.write(fields) for fields in events if fields["sequence_number"] > starting_after)

    yield from written(translation.opening())
    try:
        for event in log:
            if event is HEARTBEAT:
                yield KEEP_ALIVE_COMMENT
                continue
            yield from written(translation.translate(event, read_ended))
            if translation.is_over:
                if translation.is_whole:
                    yield DONE
                return
    except NotFound:
        yield unnamed({"error": GONE})
    except Unavailable:
        yield unnamed({"error": CUT})
    else:
        yield unnamed({"error": CUT})


def unnamed(fields: JsonObject) -> bytes:
    """Write an event without a name: a chunk of a chat completion, or an error that is none of the answer's events."""
    return b"data: %s\n\n" % orjson.dumps(fields)


def named(fields: JsonObject) -> bytes:
    """Write an event of a response's stream; its name is the JSON's `type`."""
    return b"event: %s\ndata: %s\n\n" % (fields["type"].encode(), orjson.dumps(fields))
