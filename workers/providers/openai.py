"""OpenAI, and every provider with its API at another base URL: chat completions, streamed, through the official SDK.

The SDK opens the stream, with its authentication, time-outs and typed errors. Its raw bytes are decoded by `openai_stream`, because
typed chunks cost several times what all else costs on a token's way.
"""

import asyncio
from collections.abc import AsyncGenerator

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient

from shared.config import forget_empty_variables
from shared.json_types import JsonObject
from workers.providers import openai_stream
from workers.providers.base import Chunk, CompletionRequest, ProviderError, wait_until
from workers.providers.openai_errors import CALL_ERRORS, broken_off, provider_error

CONNECT_SECONDS = 5.0
WRITE_SECONDS = 30.0
MAX_CONNECTIONS = 4_000
KEEPALIVE_CONNECTIONS = 200
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
            http_client=DefaultAioHttpClient(timeout=timeout, limits=limits),
        )

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Request a streamed chat completion; see `Provider.answer`."""
        finished = complete = False
        client = self.client.with_options(api_key=request.api_key) if request.api_key else self.client
        try:
            async with (
                asyncio.timeout(None) as patience,
                client.chat.completions.with_streaming_response.create(**_arguments(request)) as response,
            ):
                async for data in openai_stream.events(response.iter_bytes()):
                    chunk = openai_stream.read_chunk(data, client.api_key)
                    finished = finished or chunk.finish_reason is not None
                    complete = chunk.is_last(complete)
                    if patience.when() is not None:
                        wait_until(patience, None)  # the time-out is for the provider, not for the consumer of the chunks
                    yield chunk
                    if complete:
                        wait_until(patience, asyncio.get_running_loop().time() + USAGE_SECONDS)
        except (ProviderError, *CALL_ERRORS) as error:
            if complete:
                return  # only the usage, or the end of the stream, is missing
            if isinstance(error, ProviderError):
                raise
            raise provider_error(error) from error
        if not finished:
            raise broken_off("The provider's answer broke off.")

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()


def _arguments(request: CompletionRequest) -> JsonObject:
    """Return the call's arguments. The API has checked messages and parameters; the SDK's types only know OpenAI's of its day.

    Both go into the body as they are: of `messages` the SDK would look at every part's type, for nothing.
    """
    return {
        "model": request.model,
        "messages": (),
        "stream": True,
        "stream_options": {"include_usage": True},
        "extra_body": {**request.parameters, "messages": request.messages},
    }
