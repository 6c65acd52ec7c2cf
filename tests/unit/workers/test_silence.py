"""A provider that falls silent is given up; what else takes time is not its silence."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from shared.models.error_codes import JobErrorCode
from workers.providers.base import Chunk, ProviderError
from workers.run.silence import unless_silent

SILENT_SECONDS = 0.6
STOP = Chunk(finish_reason="stop")

Step = Chunk | float


async def answer(*steps: Step) -> AsyncGenerator[Chunk, None]:
    """Yield chunks; a number is a pause, seconds."""
    for step in steps:
        if isinstance(step, Chunk):
            yield step
        else:
            await asyncio.sleep(step)


def read(*steps: Step, busy_seconds: float = 0, first_seconds: float = 0) -> list[str]:
    """Return the texts that get through to a caller who takes so long with each chunk."""

    async def reading() -> list[str]:
        texts = []
        async for chunk in unless_silent(answer(*steps), SILENT_SECONDS, first_seconds):
            texts.append(str((chunk.delta or {}).get("content")))
            await asyncio.sleep(busy_seconds)
        return texts

    return asyncio.run(asyncio.wait_for(reading(), 10))


def text(content: str) -> Chunk:
    return Chunk({"content": content})


@pytest.mark.parametrize("steps", [(60.0,), (text("a"), 60.0), (text("a"), 0.1, text("b"), 60.0)], ids=["first", "second", "later"])
def test_silence_is_given_up(steps: tuple[Step, ...]) -> None:
    with pytest.raises(ProviderError) as raised:
        read(*steps)
    assert (raised.value.reason, raised.value.retryable) == (JobErrorCode.PROVIDER_STALLED, True)


def test_silence_before_the_answer_may_last_longer() -> None:
    assert read(Chunk(), 1.0, text("a"), STOP, first_seconds=3.0) == ["None", "a", "None"]
    with pytest.raises(ProviderError, match=f"{SILENT_SECONDS:g} s"):
        read(1.0, text("a"), 1.0, STOP, first_seconds=3.0)
    with pytest.raises(ProviderError, match=r"0\.9 s"):
        read(60.0, first_seconds=0.9)


def test_an_empty_chunk_is_a_sign_of_life() -> None:
    signs: list[Step] = [0.4, Chunk()]
    assert len(read(*signs * 3, text("a"), *signs * 3, STOP)) == 8


def test_many_short_waits_are_no_silence() -> None:
    steps: list[Step] = [text("a"), 0.2]
    assert len(read(*steps * 4, STOP)) == 5


def test_the_callers_own_time_is_no_silence() -> None:
    assert read(text("a"), text("b"), STOP, busy_seconds=1.5 * SILENT_SECONDS) == ["a", "b", "None"]


def test_silence_after_the_last_chunk_is_the_end() -> None:
    assert read(text("a"), STOP, 60.0) == ["a", "None"]


def test_an_error_of_its_own_is_no_silence() -> None:
    async def failing() -> AsyncGenerator[Chunk, None]:
        yield text("a")
        raise TimeoutError("of the provider's")

    async def reading() -> None:
        async for _ in unless_silent(failing(), SILENT_SECONDS):
            pass

    with pytest.raises(TimeoutError, match="of the provider's"):
        asyncio.run(reading())
