"""OpenAI, and whoever speaks its wire at another base URL: chat completions, streamed, through the official SDK.

The SDK opens the stream, with its authentication, time-outs and typed errors; its raw lines are decoded once, here, because typed
chunks cost several times what the rest of a token's way costs.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx2
import orjson
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, DefaultAioHttpClient, OpenAIError

from shared.models.base import WORD_CHARS
from workers.providers.base import COUNTS, Chunk, CompletionRequest, ProviderError, wait_until

CONNECT_SECONDS = 5.0
WRITE_SECONDS = 30.0
MAX_CONNECTIONS = 4_000
KEEPALIVE_CONNECTIONS = 200

RETRYABLE_STATUSES = frozenset({408, 409, 429})
FIRST_SERVER_ERROR = 500
MALFORMED = "provider_malformed"
UNKNOWN = "provider_error"
MAX_ERROR_CHARS = 2_000
MAX_LINE_BYTES = 32 * 1024 * 1024
"""An image in one line may be large; what is larger would be all of a worker's memory."""
USAGE_SECONDS = 5.0
"""How long the usage is waited for, once all is said."""
CUT_OFF = (APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError)
"""What a connection fails with. The SDK lets the errors of the transport below it through where it does not know them."""
UNASKABLE = (OpenAIError, ValueError)
"""What a call fails with that would fail again."""
SHORTEST_KEY_CHARS = 8
"""What is shorter is no key, and may be a word of an error message."""

_DATA = b"data:"
_DONE = b"[DONE]"
MAX_COUNT = 2**31 - 1
"""Of tokens, or of a call's place: more is nonsense, and sums of it would fit no column."""


class OpenAIProvider:
    """A provider that speaks OpenAI's chat completions."""

    def __init__(self, api_key: str, base_url: str) -> None:
        """Prepare; no connection is made yet. Silence is the caller's to judge, so there is no read time-out here."""
        timeout = httpx2.Timeout(connect=CONNECT_SECONDS, read=None, write=WRITE_SECONDS, pool=None)
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=KEEPALIVE_CONNECTIONS)
        self.client = AsyncOpenAI(
            api_key=api_key or "none",
            base_url=base_url or None,
            max_retries=0,
            timeout=timeout,
            http_client=DefaultAioHttpClient(timeout=timeout, limits=limits),
        )

    async def answer(self, question: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Ask for a streamed chat completion; see `Provider.answer`."""
        finished = whole = False
        client = self.client.with_options(api_key=question.api_key) if question.api_key else self.client
        try:
            async with (
                asyncio.timeout(None) as patience,
                client.chat.completions.with_streaming_response.create(**_body(question)) as response,
            ):
                async for data in _events(_lines(response.iter_bytes())):
                    piece = _piece(data, client.api_key)
                    finished = finished or piece.finish_reason is not None
                    whole = piece.is_last(whole)
                    wait_until(patience, None)  # only the provider is waited for, and not who listens
                    yield piece
                    if whole:
                        wait_until(patience, asyncio.get_running_loop().time() + USAGE_SECONDS)
        except (ProviderError, *CUT_OFF, *UNASKABLE) as error:
            if whole:
                return  # all was said, and only the usage, or the goodbye, is missing
            if isinstance(error, ProviderError):
                raise
            raise _why(error) from error
        if not finished:
            raise broken("The provider's answer broke off.")

    async def close(self) -> None:
        """Hang up for good."""
        await self.client.close()


def _why(error: Exception) -> ProviderError:
    """Tell what went wrong with a call as ours."""
    if isinstance(error, APIStatusError):
        return refused(error)
    if isinstance(error, CUT_OFF):
        return broken(f"The connection to the provider failed: {cause(error)}")
    return unaskable(error)


def _body(question: CompletionRequest) -> dict[str, Any]:
    """The call's arguments. They were checked at the door, and the SDK's types are closed lists of what OpenAI knew that day."""
    return {
        "model": question.model,
        "messages": question.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "extra_body": question.parameters,
    }


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut a body into lines. The last one may have no end, if it has sense: else it was cut off.

    Raises:
        ProviderError: a line is longer than anything that a provider has to say.
    """
    begun: list[bytes] = []
    size = 0
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        begun.append(first)
        size += len(first)
        if others:
            *whole, rest = others
            yield b"".join(begun)
            for line in whole:
                yield line
            begun, size = [rest], len(rest)
        if size > MAX_LINE_BYTES:
            raise broken("The provider sent a line without an end.", code=MALFORMED)
    if _has_sense(last := b"".join(begun)):
        yield last


def _has_sense(line: bytes) -> bool:
    data = line.removeprefix(_DATA).strip()
    try:
        return data == _DONE or orjson.loads(data) is not None
    except orjson.JSONDecodeError:
        return False


async def _events(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Take the data out of SSE events."""
    async for line in lines:
        if line.startswith(_DATA):
            data = line[len(_DATA) :].strip()
            if data == _DONE:
                return
            yield data


def _piece(data: bytes, key: str = "") -> Chunk:
    try:
        chunk = orjson.loads(data)
        if error := chunk.get("error"):
            raise _told(error, key)
        choice: dict[str, Any] = chunk["choices"][0] if chunk.get("choices") else {}
        reason, usage = choice.get("finish_reason"), chunk.get("usage")
        _check(choice.get("delta") or {}, reason, usage or {})
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise broken("The provider sent a malformed chunk.", code=MALFORMED) from error
    return Chunk(choice.get("delta"), reason and reason[:WORD_CHARS], usage)


def _check(delta: dict[str, Any], finish_reason: Any, usage: dict[str, Any]) -> None:
    """Raise a TypeError or an AttributeError for what could be shown but never be put together or stored."""
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


def refused(error: APIStatusError) -> ProviderError:
    """Tell the provider's refusal as ours; whether it may pass follows from its status."""
    status = error.status_code
    key = error.request.headers.get("authorization", "").removeprefix("Bearer ")
    return ProviderError(
        _worded(_said(error.body) or error.message, key),
        code=_code(error.code),
        retryable=status in RETRYABLE_STATUSES or status >= FIRST_SERVER_ERROR,
        http_status=status,
        retry_after_seconds=_retry_after(error.response.headers),
    )


def unaskable(error: Exception) -> ProviderError:
    """Tell of a call that cannot even be made, or be read: a key that fits into no header, a redirect to nowhere."""
    return ProviderError(_worded(str(error), ""), code=UNKNOWN, retryable=False)


def _worded(message: str, key: str) -> str:
    """Bound what a provider says, and blot out the key where it repeats it: it is logged, stored, and shown to the user."""
    blotted = message.replace(key, "…") if len(key) >= SHORTEST_KEY_CHARS else message
    return blotted if len(blotted) <= MAX_ERROR_CHARS else blotted[:MAX_ERROR_CHARS] + "…"


def _code(code: object) -> str:
    return code[:WORD_CHARS] if isinstance(code, str) and code else str(code) if isinstance(code, int) else UNKNOWN


def _told(error: Any, key: str) -> ProviderError:
    """An error inside the stream: nobody says whether it passes, so it is taken to."""
    code = error.get("code") if isinstance(error, dict) else None
    return ProviderError(_worded(_said(error) or str(error), key), code=_code(code), retryable=True)


def broken(message: str, code: str = "provider_broke_off") -> ProviderError:
    """Tell of a conversation that was cut off, which may go well another time."""
    return ProviderError(message, code=code, retryable=True)


def _said(body: object) -> str:
    """Find the sentence in an error: OpenAI's `message`, others' `detail`, or the error itself."""
    said = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    return said if isinstance(said, str) else ""


def cause(error: BaseException) -> str:
    """Tell the innermost reason: the SDK's own sentence is only «Connection error.»."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Read how many seconds the provider wants us away: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    milliseconds, told = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    try:
        if milliseconds.isdigit():
            return float(milliseconds) / 1000
        return float(told) if told.replace(".", "", 1).isdigit() else parsedate_to_datetime(told).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
