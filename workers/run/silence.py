"""Gives up on a provider that falls silent: before an answer begins later than in the middle of it."""

import asyncio
from collections.abc import AsyncGenerator

from shared.models.error_codes import JobErrorCode
from workers.providers.base import Chunk, ProviderError


class _Watch:
    """Ends a time-out once a wait is too long.

    One timer looks now and then, instead of one that each chunk moves: a chunk only notes when the wait for the next began.
    """

    def __init__(self, silence: asyncio.Timeout, seconds: float) -> None:
        self._silence = silence
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.waits()
        self._look()

    def waits(self) -> None:
        """Note that a wait begins."""
        self._since: float | None = self._loop.time()

    def rests(self) -> None:
        """Note that nobody waits: what keeps the caller busy is no silence of the provider."""
        self._since = None

    def takes(self, seconds: float) -> None:
        """Let a wait be as long as this from now on."""
        if seconds < self.seconds:
            self.seconds = seconds
            self._timer.cancel()
            self._look()

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        until = (now if self._since is None else self._since) + self.seconds
        if until > now:
            self._timer = self._loop.call_at(until, self._look)
        else:
            self._silence.reschedule(now)


async def unless_silent(
    answer: AsyncGenerator[Chunk, None], seconds: float, first_seconds: float = 0.0
) -> AsyncGenerator[Chunk, None]:
    """Pass chunks on for as long as none keeps us waiting for longer than this. The time between two chunks that the caller spends
    is not counted. An empty chunk is a sign of life as any other.

    Args:
        answer: the chunks.
        seconds: how long a wait may be.
        first_seconds: how long it may be before the first chunk with a delta, if that is longer.

    Raises:
        ProviderError: the provider was silent, and its answer was not whole.
    """
    is_whole = False
    try:
        async with asyncio.timeout(None) as silence:
            watch = _Watch(silence, max(seconds, first_seconds))
            try:
                async for chunk in answer:
                    if silence.expired():
                        raise TimeoutError  # its cancel was swallowed (`Lease.check`)
                    is_whole = chunk.is_last(is_whole)
                    watch.rests()
                    if chunk.delta:
                        watch.takes(seconds)
                    yield chunk
                    watch.waits()
            finally:
                watch.end()
    except TimeoutError:
        if not silence.expired():
            raise
        if is_whole:
            return  # only the usage is missing, or the stream's end
        message = f"The provider was silent for {watch.seconds:g} s."
        raise ProviderError(message, code=JobErrorCode.PROVIDER_STALLED, retryable=True) from None
