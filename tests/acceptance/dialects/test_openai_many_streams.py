"""A thousand open streams of OpenAI's wire outlive the API process that serves them: each reader comes back and misses nothing."""

import asyncio
import http
import signal
from dataclasses import dataclass, field

import aiohttp
import orjson

from dev.testing.client import Client, counted
from dev.testing.stack import Stack
from tests.openai_reader import TERMINAL, text_of

STREAMS = 1_000
RESPONSES = 10
TOKENS = 40
MODEL = f"demo?tokens={TOKENS}&first_ms=8000&gap_ms=100"
"""Silent until everybody is there; then the API process goes in the middle."""
READ_SECONDS = 120.0
AGAIN_SECONDS = 0.2


@dataclass
class Reader:
    """One stream's reader: the bytes of the events it has seen, and the last number among them."""

    response_id: str
    frames: list[bytes] = field(default_factory=list)
    number: int = -1
    connections: int = 0
    is_over: bool = False

    def take(self, data: bytes) -> None:
        """Take an event's JSON in."""
        event = orjson.loads(data)
        self.frames.append(data)
        self.number = event["sequence_number"]
        self.is_over = event["type"] in TERMINAL


async def read(session: aiohttp.ClientSession, urls: list[str], reader: Reader) -> None:
    """Read a response to its end, at one API process after the other."""
    while not reader.is_over:
        url = f"{urls[reader.connections % len(urls)]}/v1/responses/{reader.response_id}"
        reader.connections += 1
        try:
            async with session.get(url, params={"stream": "true", "starting_after": str(reader.number)}) as response:
                if response.status == http.HTTPStatus.SERVICE_UNAVAILABLE:  # all come at once: the SDK obeys this, too
                    await asyncio.sleep(float(response.headers["Retry-After"]))
                    continue
                assert response.status == 200, await response.text()
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        reader.take(line.removeprefix(b"data: "))
        except aiohttp.ClientError:
            await asyncio.sleep(AGAIN_SECONDS)


async def watch(stack: Stack, token: str, readers: list[Reader]) -> None:
    """Let all read, and stop the API process that they began at once they are in the middle."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=None),
    )
    async with session, asyncio.timeout(READ_SECONDS), asyncio.TaskGroup() as tasks:
        for reader in readers:
            tasks.create_task(read(session, stack.urls, reader))
        while sum(len(reader.frames) for reader in readers) < len(readers) * TOKENS // 8:
            await asyncio.sleep(AGAIN_SECONDS)
        assert not any(reader.is_over for reader in readers)
        stack.webs[0].signal(signal.SIGKILL)


def test_a_thousand_streams_outlive_their_api_process(stack: Stack, client: Client) -> None:
    # Given ten background responses, and a thousand readers of them at one API process
    body = {"model": MODEL, "background": True}
    made = [client.http.post("/v1/responses", json={**body, "input": f"Count {number}."}).json() for number in range(RESPONSES)]
    readers = [Reader(made[place % RESPONSES]["id"]) for place in range(STREAMS)]

    # When that process is killed in the middle
    asyncio.run(watch(stack, client.token, readers))
    stack.restart_web(0)

    # Then each has come back and seen what all others saw, to the end
    assert all(reader.connections > 1 for reader in readers)
    for response in made:
        streams = [reader.frames for reader in readers if reader.response_id == response["id"]]
        assert all(frames == streams[0] for frames in streams)
        numbers = [orjson.loads(frame)["sequence_number"] for frame in streams[0]]
        assert numbers == list(range(len(numbers)))
        assert text_of(orjson.loads(streams[0][-1])["response"]) == counted(TOKENS)
