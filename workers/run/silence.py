"""Gives up on a provider that falls silent in the middle of an answer."""

import asyncio
from collections.abc import AsyncGenerator

from shared.models.error_codes import JobErrorCode
from workers.providers.base import Chunk, ProviderError, wait_until


async def unless_silent(answer: AsyncGenerator[Chunk, None], seconds: float) -> AsyncGenerator[Chunk, None]:
    """Pass chunks on for as long as none keeps us waiting for longer than this. The time between two chunks that the caller spends
    is not counted.

    Raises:
        ProviderError: the provider was silent, and its answer was not whole.
    """
    loop, is_whole = asyncio.get_running_loop(), False
    try:
        async with asyncio.timeout(seconds) as silence:
            async for chunk in answer:
                if silence.expired():
                    raise TimeoutError  # its cancel was swallowed (`Lease.check`)
                is_whole = chunk.is_last(is_whole)
                wait_until(silence, None)  # what keeps us from writing is no silence of the provider
                yield chunk
                wait_until(silence, loop.time() + seconds)
    except TimeoutError:
        if not silence.expired():
            raise
        if is_whole:
            return  # only the usage is missing, or the stream's end
        message = f"The provider was silent for {seconds:g} s."
        raise ProviderError(message, code=JobErrorCode.PROVIDER_STALLED, retryable=True) from None
