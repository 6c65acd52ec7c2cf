"""OpenAI, and every provider with its API at another base URL: chat completions, streamed, through the official SDK.

The SDK opens the stream, with its authentication, time-outs and typed errors. Its raw bytes are read by `stream` and `chunks`,
because typed chunks cost several times what all else costs on a token's way.
"""

import asyncio
import ipaddress
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
from openai import APIStatusError, AsyncOpenAI, DefaultAioHttpClient

from shared.config import forget_empty_variables
from shared.json_types import JsonObject
from workers.providers.base import Chunk, CompletionRequest, ProviderError, wait_until
from workers.providers.openai import stream
from workers.providers.openai.chunks import AnswerReader
from workers.providers.openai.errors import CALL_ERRORS, broken_off, empty, provider_error, refuses_usage

CONNECT_SECONDS = 5.0
WRITE_SECONDS = 30.0
MAX_CONNECTIONS = 4_000
KEEPALIVE_CONNECTIONS = 200
MAX_MODELS = 1_000
"""Of how many models it is remembered that they are not to be asked for the usage."""
USAGE_SECONDS = 5.0
"""How long the usage is waited for, once the answer is complete."""


class OpenAIProvider:
    """A provider with OpenAI's chat completions."""

    def __init__(self, api_key: str, base_url: str) -> None:
        """Make the client; it connects at the first call. It has no read time-out: the caller judges silence."""
        forget_empty_variables("OPENAI_")  # the SDK would take an empty address for one
        timeout = httpx2.Timeout(connect=CONNECT_SECONDS, read=None, write=WRITE_SECONDS, pool=None)
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=KEEPALIVE_CONNECTIONS)
        self.client = AsyncOpenAI(
            api_key=api_key or "none",
            base_url=base_url or None,
            max_retries=0,
            timeout=timeout,
            http_client=DefaultAioHttpClient(timeout=timeout, limits=limits, trust_env=not _is_here(base_url)),
        )
        self._without_usage: set[str] = set()

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Request a streamed chat completion; see `Provider.answer`."""
        complete = False
        until = 0.0
        client = self.client.with_options(api_key=request.api_key) if request.api_key else self.client
        reader = AnswerReader(client.api_key)
        try:
            async with asyncio.timeout(None) as patience, AsyncExitStack() as stack:
                response = await self._opened(client, request, stack)
                async for data in stream.events(response.iter_bytes()):
                    chunk = _chunk(reader, data)
                    was_complete, complete = complete, chunk.is_last(complete)
                    if patience.when() is not None:
                        wait_until(patience, None)  # the time-out is for the provider, not for the consumer of the chunks
                    yield chunk
                    if complete and (data or not was_complete):
                        until = asyncio.get_running_loop().time() + USAGE_SECONDS
                    if complete:
                        wait_until(patience, until)
        except (ProviderError, *CALL_ERRORS) as error:
            if isinstance(error, ProviderError) and not complete:
                raise
            if not complete:  # else only the usage, or the end of the stream, is missing
                raise provider_error(error) from error
        if not reader.has_ended:
            raise broken_off("The provider's answer broke off.")
        if reader.is_empty:
            raise empty("The provider's answer was empty.")

    async def _opened(self, client: AsyncOpenAI, request: CompletionRequest, stack: AsyncExitStack) -> Any:
        """Open a stream, and leave its closing to the stack.

        A provider that refuses to be asked for the usage is not asked for it any more.
        """
        create = client.chat.completions.with_streaming_response.create
        asks_usage = request.model not in self._without_usage
        try:
            return await stack.enter_async_context(create(**_arguments(request, asks_usage=asks_usage)))
        except APIStatusError as error:
            if not (asks_usage and refuses_usage(error)):
                raise
        response = await stack.enter_async_context(create(**_arguments(request, asks_usage=False)))
        if len(self._without_usage) < MAX_MODELS:
            self._without_usage.add(request.model)
        return response

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()


def _is_here(base_url: str) -> bool:
    """Return whether a provider is on this machine, as the built-in model is: no proxy of the environment leads there."""
    host = httpx2.URL(base_url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _chunk(reader: AnswerReader, data: bytes) -> Chunk:
    if data == stream.SIGN_OF_LIFE:
        return Chunk()
    return reader.end() if data == stream.DONE else reader.read(data)


def _arguments(request: CompletionRequest, *, asks_usage: bool) -> JsonObject:
    """Return the call's arguments. The API has checked messages and parameters; the SDK's types only know OpenAI's of its day.

    Both go into the body as they are: of `messages` the SDK would look at every part's type, for nothing.
    """
    return {
        "model": request.model,
        "messages": (),
        "stream": True,
        **({"stream_options": {"include_usage": True}} if asks_usage else {}),
        "extra_body": {**request.parameters, "messages": request.messages},
    }
