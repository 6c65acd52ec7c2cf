"""The built-in model sends an answer chunk by chunk, at its pace, in the writes that were ordered."""

import asyncio
import time
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from dev.testing.client import counted
from tests.unit.dev.model.server import Server, broken, clocks_of, frames, message, streamed, text_of, whole


@pytest.mark.parametrize("gap_ms", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_numbers_come_one_per_chunk(client: OpenAI, text: str, gap_ms: int, count: int) -> None:
    chunks = streamed(client, f"demo?tokens={count}&first_ms=0&gap_ms={gap_ms}", text)
    contents = [chunk.choices[0].delta.content for chunk in chunks]
    assert contents == ["", *(f"{number} " for number in range(1, count + 1)), None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (count + 1) + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_and_only_when_asked(client: OpenAI, text: str) -> None:
    wanted: Any = {"stream_options": {"include_usage": True}}
    chunks = streamed(client, "demo?tokens=7&gap_ms=0&first_ms=0", text, **wanted)
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert usage == whole(client, "demo?tokens=7&gap_ms=0&first_ms=0", text).usage
    assert (usage.completion_tokens, usage.total_tokens) == (7, usage.prompt_tokens + 7)
    assert usage.prompt_tokens > 0


def test_usage_can_be_withheld(client: OpenAI, text: str) -> None:
    model = "demo?tokens=2&usage=0&gap_ms=0&first_ms=0"
    chunks = streamed(client, model, text, stream_options={"include_usage": True})
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)
    assert whole(client, model, text).usage is None


def test_a_long_answer_without_gaps_is_complete(client: OpenAI, text: str) -> None:
    assert text_of(streamed(client, "demo?tokens=3000&gap_ms=0&first_ms=0", text)) == counted(3000)


@pytest.mark.parametrize("gap_ms", [0, 1])
def test_two_chunks_come_in_one_write(client: OpenAI, server: Server, text: str, gap_ms: int) -> None:
    model = f"demo?tokens=5&first_ms=0&gap_ms={gap_ms}&coalesce=1"
    assert [frame.count(b'"delta":{"content":"') for frame in frames(server.receive_raw(model, text))] == [2, 2, 1, 0, 0]
    assert text_of(streamed(client, model, text)) == counted(5)


@pytest.mark.parametrize("gap_ms", [0, 1])
def test_a_chunk_comes_in_two_writes(client: OpenAI, server: Server, text: str, gap_ms: int) -> None:
    model = f"demo?tokens=2&first_ms=0&gap_ms={gap_ms}&split=1"
    written = frames(server.receive_raw(model, text))
    assert len(written) == 2 * 2 + 2
    assert [frame.endswith(b"\n\n") for frame in written] == [False, True, False, True, True, False]
    assert text_of(streamed(client, model, text)) == counted(2)


@pytest.mark.parametrize("how", ["coalesce", "split"])
def test_a_fault_comes_after_its_chunk_however_it_is_written(client: OpenAI, text: str, how: str) -> None:
    model = f"demo?tokens=5&first_ms=0&gap_ms=0&drop_at=3&{how}=1"
    received, _ = broken(client, model, text, openai.APIConnectionError)
    assert text_of(received) == counted(3)
    assert text_of(streamed(client, model, text)) == counted(5)


def test_an_http_1_0_client_gets_no_chunked_frames(server: Server, text: str) -> None:
    received = server.receive_raw("demo?tokens=2&gap_ms=1&first_ms=0", text, version="1.0")
    events = received.partition(b"\r\n\r\n")[2].decode().split("\n\n")
    assert [event.partition(": ")[0] for event in events] == ["data"] * 5 + [""]
    assert events[-2] == "data: [DONE]"


def test_chunks_come_on_schedule(client: OpenAI, text: str) -> None:
    late_ms = []
    for _ in range(3):
        asked_ns = time.monotonic_ns()
        clocks = clocks_of(streamed(client, "demo?tokens=200&first_ms=200&gap_ms=3&clock=1", text))
        assert 199 <= (clocks[0] - asked_ns) / 1e6 < 5_000
        late_ms.append((clocks[-1] - clocks[0]) / 1e6 - 199 * 3)
    # Absolute: 199 sleeps in a row would each be a little late and add up; the last chunk is where 199 gaps put it.
    # The best of three, since the machine may stand still in the very moment of the last.
    assert min(late_ms, key=abs) == pytest.approx(0, abs=50)


def test_a_whole_answer_takes_as_long_as_its_stream(client: OpenAI, text: str) -> None:
    started = time.monotonic()
    assert text_of(whole(client, "demo?tokens=11&first_ms=100&gap_ms=20", text)) == counted(11)
    assert 0.299 <= time.monotonic() - started < 5


@pytest.mark.parametrize("gap_ms", [0, 5])
def test_clock_tells_when_a_chunk_was_sent(client: OpenAI, text: str, gap_ms: int) -> None:
    before_ns = time.monotonic_ns()
    chunks = streamed(client, f"demo?tokens=10&first_ms=0&gap_ms={gap_ms}&clock=1", text, stream_options={"include_usage": True})
    clocks: list[int] = [chunk.clock for chunk in chunks]  # type: ignore[attr-defined]
    in_order = [before_ns, *clocks, time.monotonic_ns()]
    assert in_order == sorted(in_order)
    numbered = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert clocks_of(chunks) == [chunk.clock for chunk in numbered]  # type: ignore[attr-defined]
    assert chunks[-2].choices[0].delta.to_dict() == {}
    assert whole(client, f"demo?tokens=1&first_ms=0&gap_ms={gap_ms}&clock=1", text).clock > before_ns  # type: ignore[attr-defined]
    assert "clock" not in streamed(client, "demo?tokens=1&gap_ms=0&first_ms=0", text)[1].model_fields_set


def test_two_hundred_streams_at_once_are_whole(server: Server) -> None:
    async def one(client: AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(
            model="demo?tokens=20&first_ms=500&gap_ms=50", messages=[message("user", f"many {number}")], stream=True
        )
        return text_of([chunk async for chunk in stream])

    async def all_of_them() -> list[str]:
        async with AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(200)))

    assert asyncio.run(all_of_them()) == [counted(20)] * 200
