"""Answers are sent at their pace, faults included; a thousand at once keep their schedule."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice

from aiohttp import HttpVersion11, web

from dev.model.options import Fault, Options
from dev.model.wire import MALFORMED_EVENT, Completion

BATCH_EVENTS = 64
BACKLOG_BYTES = 64 * 1024
SPLIT_SECONDS = 0.002
"""Between the two halves of a chunk: long enough for the first to be read alone."""
EVENT_STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Timer:
    """One timer per millisecond for all streams together: one per chunk would be the greatest cost."""

    def __init__(self) -> None:
        self._due: dict[int, list[Callable[[], None]]] = {}

    def call_at(self, due_s: float, callback: Callable[[], None]) -> None:
        """Call back at this time of the running loop, to the millisecond. It cannot be cancelled."""
        due_ms = round(due_s * 1000)
        callbacks = self._due.get(due_ms)
        if callbacks is None:
            callbacks = self._due[due_ms] = []
            asyncio.get_running_loop().call_at(due_ms / 1000, self._fire, due_ms)
        callbacks.append(callback)

    def _fire(self, due_ms: int) -> None:
        for callback in self._due.pop(due_ms):
            callback()


class Schedule:
    """The times at which the chunks of an answer are due: absolute, so that one late chunk does not delay all later ones."""

    def __init__(self, options: Options, timer: Timer) -> None:
        """Begin the schedule now."""
        self.timer = timer
        self.gap_s = options.gap_ms / 1000
        self.coalesces = options.coalesce
        self.splits = options.split
        self._first_s = asyncio.get_running_loop().time() + options.first_ms / 1000

    def due_s(self, index: int) -> float:
        """Return the loop's time at which this chunk, counted from 0, is due."""
        return self._first_s + index * self.gap_s

    async def wait_for(self, index: int) -> None:
        """Sleep until a chunk is due."""
        await asyncio.sleep(self.due_s(index) - asyncio.get_running_loop().time())


async def send_stream(
    request: web.Request, completion: Completion, chunks: int, fault: Fault | None, schedule: Schedule
) -> web.StreamResponse:
    """Stream an answer of this many chunks to the client."""
    response = web.StreamResponse(headers=EVENT_STREAM_HEADERS)
    await response.prepare(request)
    events = completion.events()
    sent = chunks if fault is None else fault.after_chunk
    if sent == 0:
        await schedule.wait_for(0)
        await response.write(completion.opening())
    await _send_events(request, response, islice(events, sent), range(sent), schedule)
    if fault is not None:
        if fault.kind != "bad_at":
            return await _break_off(request, response, fault)
        await response.write(MALFORMED_EVENT)
        await _send_events(request, response, events, range(sent, chunks), schedule)
    await response.write_eof(completion.closing())
    return response


async def send_whole(
    request: web.Request, completion: Completion, chunks: int, fault: Fault | None, schedule: Schedule
) -> web.StreamResponse:
    """Send the whole answer at once, when the last chunk of a stream would have been sent."""
    last = chunks if fault is None else fault.after_chunk
    await schedule.wait_for(max(last - 1, 0))
    body = completion.whole()
    if fault is None:
        return web.Response(body=body, content_type="application/json")
    if fault.kind == "bad_at":
        return web.Response(body=body[: len(body) // 2], content_type="application/json")
    return await _break_off(request, web.Response(), fault)


async def _break_off(request: web.Request, response: web.StreamResponse, fault: Fault) -> web.StreamResponse:
    if fault.kind == "stall_at":
        await asyncio.get_running_loop().create_future()  # for ever: the handler is cancelled when the client leaves
    if request.transport is not None:
        # Not abort(): what was sent so far must arrive. The body has no end mark, so the client sees that it is cut.
        request.transport.close()
    return response


async def _send_events(
    request: web.Request, response: web.StreamResponse, events: Iterator[bytes], indexes: range, schedule: Schedule
) -> None:
    if schedule.splits:
        await _send_halves(response, events, indexes, schedule)
    elif schedule.coalesces:
        await _send_pairs(response, events, indexes, schedule)
    elif schedule.gap_s:
        await _PacedSend(request, events, indexes, schedule).run()
    else:
        await _send_batches(response, events, indexes, schedule)


async def _send_batches(response: web.StreamResponse, events: Iterator[bytes], indexes: range, schedule: Schedule) -> None:
    await schedule.wait_for(indexes.start)
    while batch := b"".join(islice(events, BATCH_EVENTS)):
        await response.write(batch)
        await asyncio.sleep(0)  # or else one long answer would hold up all others


async def _send_halves(response: web.StreamResponse, events: Iterator[bytes], indexes: range, schedule: Schedule) -> None:
    for index, event in zip(indexes, events, strict=False):
        await schedule.wait_for(index)
        middle = len(event) // 2
        await response.write(event[:middle])
        await asyncio.sleep(SPLIT_SECONDS)
        await response.write(event[middle:])


async def _send_pairs(response: web.StreamResponse, events: Iterator[bytes], indexes: range, schedule: Schedule) -> None:
    for start in indexes[::2]:
        pair = indexes[start - indexes.start :][:2]
        await schedule.wait_for(pair[-1])
        await response.write(b"".join(islice(events, len(pair))))


class _PacedSend:
    """Writes each event when it is due, from a callback and straight to the transport.

    Waking a task and going through the response for every chunk costs several times as much; with a thousand streams
    that is the difference between a server that measures and one that is measured.
    """

    def __init__(self, request: web.Request, events: Iterator[bytes], indexes: range, schedule: Schedule) -> None:
        if request.transport is None:
            raise ConnectionResetError("The client has left.")
        self._transport = request.transport
        self._is_chunked = request.version >= HttpVersion11
        self._events = events
        self._next = indexes.start
        self._stop = indexes.stop
        self._schedule = schedule
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> None:
        """Send all events; cancelled when the client leaves."""
        if self._next < self._stop:
            self._schedule.timer.call_at(self._schedule.due_s(self._next), self._send_due)
            await self._done

    def _send_due(self) -> None:
        if self._done.done() or self._transport.is_closing():
            return
        now_s = self._loop.time()
        due_s = now_s
        # A client that reads too slowly gets nothing more until it has read what was sent.
        while due_s <= now_s and self._transport.get_write_buffer_size() < BACKLOG_BYTES:
            event = next(self._events)
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event) if self._is_chunked else event)
            self._next += 1
            if self._next == self._stop:
                self._done.set_result(None)
                return
            due_s = self._schedule.due_s(self._next)
        self._schedule.timer.call_at(max(due_s, now_s + 0.001), self._send_due)
