"""Read a streamed chat completion: bytes to lines, lines to SSE events, events to chunks."""

from collections.abc import AsyncIterator
from typing import Any

import orjson

from shared.json_types import JsonObject
from shared.models.base import WORD_CHARS
from workers.providers.base import COUNTS, Chunk
from workers.providers.openai_errors import malformed, stream_error

MAX_LINE_BYTES = 32 * 1024 * 1024
"""An image in one line may be large; a longer line would take all of a worker's memory."""
MAX_COUNT = 2**31 - 1
"""Of tokens, or of a tool call's index: sums of more would fit no column."""

_DATA = b"data:"
_DONE = b"[DONE]"


async def events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the data of a body's SSE events, up to `[DONE]`.

    Raises:
        ProviderError: a line is too long.
    """
    async for line in _lines(body):
        if line.startswith(_DATA):
            data = line[len(_DATA) :].strip()
            if data == _DONE:
                return
            yield data


async def _lines(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split a body into lines. A last line without an end is one only if it is complete JSON or `[DONE]`: else it was cut off."""
    begun: list[bytes] = []
    size = 0
    async for received in body:
        first, *others = received.split(b"\n")
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
        fields = orjson.loads(data)
        if error := fields.get("error"):
            raise stream_error(error, key)
        choice: JsonObject = fields["choices"][0] if fields.get("choices") else {}
        reason, usage = choice.get("finish_reason"), fields.get("usage")
        _check(choice.get("delta") or {}, reason, usage or {})
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise malformed("The provider sent a malformed chunk.") from error
    return Chunk(choice.get("delta"), reason and reason[:WORD_CHARS], usage)


def _check(delta: JsonObject, finish_reason: Any, usage: JsonObject) -> None:
    """Raise a TypeError or an AttributeError for what could be shown but not be assembled or stored."""
    texts = [finish_reason, delta.get("content"), delta.get("refusal")]
    numbers = [usage.get(name) for name in COUNTS]
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        texts += [call.get("id"), call.get("type"), function.get("name"), function.get("arguments")]
        numbers.append(call.get("index"))
    if not all(text is None or isinstance(text, str) for text in texts):
        raise TypeError("not a text")
    if not all(number is None or (isinstance(number, int) and 0 <= number <= MAX_COUNT) for number in numbers):
        raise TypeError("not a count")
