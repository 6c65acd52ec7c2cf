"""Orderly stops: a worker or an API process that is stopped loses nothing, and its work moves on at once."""

import asyncio
import signal
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import aiohttp
import pytest
from openai import APIError
from openai.types.chat import ChatCompletionChunk

from dev.servers.postgres_server import PostgresServer
from dev.testing.client import Client, Reading, counted, read
from dev.testing.stack import Redis, Stack, running, wait_until
from tests.openai_reader import sdk

STREAMS = 50
TOKENS = 100
LONG = "demo?tokens=100&gap_ms=50"

# The leases are as long as in production, so that only a job that was given back can be taken over in time.
SETTINGS = {"DRAIN_SECONDS": "1", "HEARTBEAT_SECONDS": "1"}


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis, postgres_server: PostgresServer) -> Iterator[Stack]:
    redis_server.client.flushall()
    folder = tmp_path_factory.mktemp("stops")
    with running(Stack(folder, redis_server.url, postgres_server.create_database(), **SETTINGS), webs=2) as started:
        yield started


def test_a_worker_that_is_stopped_gives_back_what_it_cannot_finish(stack: Stack, client: Client) -> None:
    # Given a long job on one worker, and a second worker that idles
    stack.start_worker()
    job = client.submit(model="demo?tokens=100&gap_ms=100")
    wait_until(lambda: client.job(job["id"])["text"], "the first token")

    # When that one is stopped
    first = next(worker for worker in stack.workers if job["id"] in worker.log())
    first.signal(signal.SIGTERM)
    wait_until(lambda: client.job(job["id"])["attempt"] == 3, "the job to be given back and taken over")

    # Then it ends within its drain, the other carries on within a second, and the answer is whole
    wait_until(lambda: not first.is_running(), "the worker to be gone", seconds=15)
    reading = client.events(job["id"])
    assert reading.text == counted(100)
    reading.assert_dense()
    restarted = next(event for event in reading.events if event["type"] == "restarted")
    assert restarted["reason"] == "drained"
    ended = client.finished(job["id"])
    assert (ended["status"], ended["attempt"]) == ("completed", 3)


def test_a_worker_that_is_stopped_finishes_what_it_can(stack: Stack, client: Client) -> None:
    assert stack.workers[0].stop() == 0
    patient = stack.start_worker(DRAIN_SECONDS="15")
    job = client.submit(model="demo?tokens=20&gap_ms=30")
    wait_until(lambda: client.job(job["id"])["text"], "the first token")
    assert patient.stop() == 0
    assert (client.finished(job["id"])["attempt"], client.job(job["id"])["text"]) == (1, counted(20))


def test_an_api_process_that_is_stopped_lets_its_readers_move_on(stack: Stack, client: Client) -> None:
    job = client.submit(model=LONG)
    reading = Reading()

    async def watch() -> None:
        following = asyncio.create_task(read(stack.urls, job["id"], client.token, reading=reading))
        while len(reading.events) < 10:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(stack.webs[0].stop)
        await following

    asyncio.run(watch())
    assert reading.text == counted(TOKENS)
    reading.assert_dense()
    assert reading.connections == 2


def test_the_sdk_notices_that_its_stream_was_cut_off_and_gets_the_rest(stack: Stack, client: Client) -> None:
    # Given a chat completion and a response that stream from one API process
    first_sdk, other_sdk = (sdk(url, client.token) for url in stack.urls)
    chat = first_sdk.chat.completions.create(model=LONG, messages=[{"role": "user", "content": "Count."}], stream=True)
    response = first_sdk.responses.create(model=LONG, input="Count.", stream=True)
    chunks: list[Any] = list(islice(chat, 10))
    events: list[Any] = list(islice(response, 10))

    # When it is stopped, then the SDK does not take what it has got for the whole
    stack.webs[0].stop()
    streams: list[tuple[Iterable[Any], list[Any]]] = [(chat, chunks), (response, events)]
    for stream, received in streams:
        with pytest.raises(APIError) as cut:
            received.extend(stream)  # and keep what comes before it raises
        assert cut.value.code == "stream_cut"

    # And the rest is had from the other process
    last = events[-1].sequence_number
    events.extend(other_sdk.responses.retrieve(events[0].response.id, stream=True, starting_after=last))
    assert events[-1].response.output_text == counted(TOKENS)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    path = f"{stack.urls[1]}/v1/chat/completions/{chunks[0].id}/stream"
    rest = client.http.get(path, params={"starting_after": chunks[-1].sequence_number}).content
    chunks.extend(ChatCompletionChunk.model_validate_json(frame[6:]) for frame in rest.split(b"\n\n") if b"{" in frame)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == counted(TOKENS)


@pytest.mark.timeout(180)
def test_a_rolling_restart_of_everything_loses_nothing(stack: Stack, client: Client) -> None:
    # Given 50 streams, read live through both API processes
    jobs = [client.submit(model=LONG)["id"] for _ in range(STREAMS)]

    async def watch() -> list[Reading]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            order = [stack.urls, stack.urls[::-1]]
            following = [
                asyncio.create_task(read(order[index % 2], job, client.token, session=session)) for index, job in enumerate(jobs)
            ]
            await asyncio.to_thread(restart_everything)
            return list(await asyncio.gather(*following))

    def restart_everything() -> None:
        stack.start_worker()
        stack.workers[0].stop()
        for index in range(len(stack.webs)):
            stack.webs[index].stop()
            stack.restart_web(index)

    # When every process is replaced, one after the other; then every reader has every token once
    readings = asyncio.run(watch())
    for reading in readings:
        assert reading.text == counted(TOKENS)
        reading.assert_dense()
