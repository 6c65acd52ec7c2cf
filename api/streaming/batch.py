"""Events that were published together, and the chunk of a stream that they are: framed once per process, not once per reader."""

from collections.abc import Callable, Sequence
from functools import cached_property

from api.streaming.direct import DirectWriter, chunk
from shared.events import DELTA, Event

Frame = Callable[[Event], bytes]
"""Writes an event in a wire's words. The same function for all readers of a wire, since a chunk is kept by it."""


class DirectReader:
    """How the hub itself can write to a reader: to whom, and in which words."""

    def __init__(self, writer: DirectWriter, frame: Frame) -> None:
        """Keep both."""
        self.writer = writer
        self.frame = frame


class Batch:
    """Events that were published together, oldest first; none: something was written that has to be read in the log."""

    def __init__(self, events: Sequence[Event]) -> None:
        """Frame nothing yet."""
        self.events = events
        self._chunks: dict[Frame, bytes] = {}

    def follows(self, cursor: int) -> bool:
        """Return whether these are nothing but the next deltas behind a cursor, without a gap."""
        return self._is_plain and self.events[0].seq == cursor + 1

    def chunk(self, frame: Frame) -> bytes:
        """Return the events as one chunk of a stream."""
        if frame not in self._chunks:
            self._chunks[frame] = chunk(b"".join(map(frame, self.events)))
        return self._chunks[frame]

    @cached_property
    def _is_plain(self) -> bool:
        return bool(self.events) and all(
            event.type == DELTA and event.seq == seq for seq, event in enumerate(self.events, self.events[0].seq)
        )
