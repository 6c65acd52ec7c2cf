"""Read a streamed chat completion: bytes to lines, lines to SSE events, events to chunks."""

import json
from collections.abc import AsyncIterator
from typing import Any

import orjson

from shared.json_types import JsonObject
from shared.models.base import WORD_CHARS
from workers.providers import openai_odd
from workers.providers.base import Chunk
from workers.providers.openai_errors import broken_off, malformed, stream_error

MAX_LINE_BYTES = 32 * 1024 * 1024
"""An image in one line may be large; a longer line would take all of a worker's memory."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DATA = b"data:"
_DONE = b"[DONE]"


async def events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the data of a body's SSE events, up to `[DONE]`.

    An event may come in several lines, as WHATWG's "server-sent events" have it; or several in one block, a line each, as some
    providers send them.

    Raises:
        ProviderError: a line is too long.
    """
    begun = b""
    async for whole_line in _lines(body):
        line = whole_line.removeprefix(_BYTE_ORDER_MARK)
        if line.startswith(_DATA):
            data = line[len(_DATA) :].strip()
            if begun and (data.startswith(b"{") or data == _DONE) and _is_complete(begun):
                yield begun
                begun = b""
            begun = b"%b\n%b" % (begun, data) if begun else data
            if begun == _DONE:
                return
            if len(begun) > MAX_LINE_BYTES:
                raise malformed("The provider sent an event without an end.")
        if begun and (not line or begun.count(b"{") == begun.count(b"}")):
            yield begun
            begun = b""
    if begun and _is_complete(begun):
        yield begun


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
        return data == _DONE or orjson.loads(data) is not None
    except orjson.JSONDecodeError:
        return False


def read_chunk(data: bytes, key: str = "") -> Chunk:
    """Read a chunk; `key` is removed from an error's message.

    Raises:
        ProviderError: it is an error, or cannot be read.
    """
    try:
        fields = _json(data)
        if error := fields.get("error"):
            raise stream_error(error, key)
        choice: JsonObject = fields["choices"][0] if fields.get("choices") else {}
        reason, delta, usage = choice.get("finish_reason"), choice.get("delta"), openai_odd.usage_of(fields.get("usage"))
        if delta and not _is_plain(delta):
            delta = openai_odd.plain_delta(delta)
        _check(delta or {}, reason)
        if reason:
            reason = _reason(reason)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise malformed("The provider sent a malformed chunk.") from error
    return Chunk(delta, reason, usage)


def _reason(reason: str) -> str:
    if reason.lower() in openai_odd.FAULTS:
        raise broken_off(f"The provider ended the answer with: {reason[:WORD_CHARS]}.")
    return openai_odd.finish_reason(reason)[:WORD_CHARS]


def _json(data: bytes) -> Any:
    """Read JSON; some providers write NaN and infinities in it, which stand for nothing here."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        read = json.loads(data, parse_constant=lambda _: None)
        orjson.dumps(read)  # raises a TypeError for half a surrogate pair
        return read


def _is_plain(delta: JsonObject) -> bool:
    """Return whether a delta has text and nothing that is often odd."""
    return isinstance(delta.get("content"), str) and "tool_calls" not in delta


def _check(delta: JsonObject, finish_reason: Any) -> None:
    """Raise a TypeError or an AttributeError for what could be shown but not be assembled or stored."""
    texts = [finish_reason, delta.get("content"), delta.get("refusal")]
    numbers = []
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        texts += [call.get("id"), call.get("type"), function.get("name"), function.get("arguments")]
        numbers.append(call.get("index"))
    if not all(text is None or isinstance(text, str) for text in texts):
        raise TypeError("not a text")
    if not all(number is None or (isinstance(number, int) and 0 <= number <= openai_odd.MAX_COUNT) for number in numbers):
        raise TypeError("not a count")
