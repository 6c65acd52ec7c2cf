"""Read the bytes of a streamed chat completion: bytes to lines, lines to the data of SSE events."""

from collections.abc import AsyncIterator

import orjson

from workers.providers.openai.errors import malformed

DONE = b"[DONE]"
"""The data that says that nothing follows."""
SIGN_OF_LIFE = b""
"""What stands for a comment, or for an event that only shows that the provider is there."""

MAX_LINE_BYTES = 32 * 1024 * 1024
"""An image in one line may be large; a longer line would take all of a worker's memory."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DATA, _EVENT, _COMMENT = b"data:", b"event:", b":"
_PINGS = (b"ping", b"heartbeat", b"keepalive", b"keep-alive")
_NO_STREAM = (b"{", b"[", b"<")
"""How a body begins that is no stream of events: one JSON value, or a page."""


async def events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the data of a body's SSE events, up to `DONE`, and a `SIGN_OF_LIFE` for each comment.

    An event may come in several lines, as WHATWG's "server-sent events" have it; or several in one block, a line each, as some
    providers send them. A body that is no stream is one event. The data of an event named `error` is an object with an `error`.

    Raises:
        ProviderError: a line is too long.
    """
    start = await _start(body)
    if start.strip().removeprefix(_BYTE_ORDER_MARK).startswith(_NO_STREAM):
        yield (await _whole(start, body)).strip().removeprefix(_BYTE_ORDER_MARK)
        return
    begun = name = b""
    async for whole_line in _lines(_behind(start, body)):
        line = whole_line.removeprefix(_BYTE_ORDER_MARK)
        if line.startswith(_DATA):
            data = line[len(_DATA) :].strip()
            if begun and (data.startswith(b"{") or data == DONE) and _is_complete(begun):
                yield _event(begun, name)
                begun = name = b""
            begun = b"%b\n%b" % (begun, data) if begun else data
            if begun == DONE:
                yield DONE
                return
            if len(begun) > MAX_LINE_BYTES:
                raise malformed("The provider sent an event without an end.")
        elif line.startswith(_EVENT):
            name = line[len(_EVENT) :].strip()
        elif line.startswith(_COMMENT):
            yield SIGN_OF_LIFE
        if begun and (not line or begun.count(b"{") == begun.count(b"}")):
            yield _event(begun, name)
            begun = name = b""
        elif not line:
            name = b""
    if begun and _is_complete(begun):
        yield _event(begun, name)


def _event(data: bytes, name: bytes) -> bytes:
    if name in _PINGS:
        return SIGN_OF_LIFE
    if name != b"error":
        return data
    try:
        error = orjson.loads(data)
    except orjson.JSONDecodeError:
        error = data.decode(errors="replace")
    return data if isinstance(error, dict) and error.get("error") else orjson.dumps({"error": error or "error"})


async def _start(body: AsyncIterator[bytes]) -> bytes:
    """Read a body as far as its first byte that is not blank."""
    start = b""
    async for received in body:
        start += received
        if start.strip().removeprefix(_BYTE_ORDER_MARK):
            break
    return start


async def _whole(start: bytes, body: AsyncIterator[bytes]) -> bytes:
    parts, size = [start], len(start)
    async for received in body:
        parts.append(received)
        size += len(received)
        if size > MAX_LINE_BYTES:
            raise malformed("The provider sent an answer without an end.")
    return b"".join(parts)


async def _behind(start: bytes, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for received in body:
        yield received


async def _lines(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split a body into lines. A last line without an end is one only if it is complete JSON or `[DONE]`: else it was cut off."""
    begun: list[bytes] = []
    size = 0
    newlines = _Newlines()
    async for received in body:
        first, *others = newlines.write(received).split(b"\n")
        begun.append(first)
        size += len(first)
        if others:
            *whole, rest = others
            yield b"".join(begun)
            for line in whole:
                yield line
            begun, size = [rest], len(rest)
        if size > MAX_LINE_BYTES:
            raise malformed("The provider sent a line without an end.")
    if _is_complete(last := b"".join(begun)):
        yield last


class _Newlines:
    """Writes all three kinds of line ends as newlines."""

    def __init__(self) -> None:
        """Begin with a body's first bytes."""
        self._was_return = False

    def write(self, received: bytes) -> bytes:
        """Return the bytes that came next, with newlines."""
        rest = received.removeprefix(b"\n") if self._was_return else received
        if received:
            self._was_return = received.endswith(b"\r")
        return rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in rest else rest


def _is_complete(line: bytes) -> bool:
    data = line.removeprefix(_DATA).strip()
    try:
        return data == DONE or orjson.loads(data) is not None
    except orjson.JSONDecodeError:
        return False
