"""An agent, written from the description of the protocol alone: it connects, answers pings and questions, and can misbehave.

What it does with a question is decided by the question itself: `silent`, `close`, `wrong id`, `no json`, `number`, `bad data`,
`error`, `empty`, `own error`, `binary`, `slow 0.5`. Any other is answered with its own words.
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

import aiohttp

from dev.testing.stack import wait_until

PATH = "/client/register"
JOIN_SECONDS = 10.0

Frame = dict[str, Any]


class Agent:
    """One connection of an agent, on an event loop in a thread of its own."""

    def __init__(
        self,
        url: str,
        *,
        agent_id: str | None = None,
        token: str | None = None,
        path: str = PATH,
        greeting: str | None = None,
        pong: str = "pong",
        heartbeat_seconds: float | None = None,
        wait: bool = True,
    ) -> None:
        """Connect, and wait until that is done.

        Args:
            agent_id: the id of an earlier connection; None takes the one that is offered.
            token: an agent token, for the header.
            path: where to connect.
            greeting: what to send instead of a connection id.
            pong: what is done with a ping: `pong`, `wrong id`, `silent`, `close`, `late 0.8`.
            heartbeat_seconds: send Ping control frames this often, and leave if they are not answered.
        """
        self.url = url.replace("http://", "ws://") + path
        self.token = token
        self.wanted = agent_id
        self._greeting = greeting
        self.pong = pong
        self._heartbeat_seconds = heartbeat_seconds
        self.frames: list[str] = []
        self.received: list[Frame] = []
        self.requests: list[Frame] = []
        self.id: str | None = None
        self.refused: int | None = None
        self.close_code: int | None = None
        self.is_over = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if wait:
            wait_until(lambda: self.id is not None or self.is_over, "an agent to connect", JOIN_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._connect())
        finally:
            self.is_over = True
            self._loop.close()

    async def _connect(self) -> None:
        headers = {"Authorization": self.token} if self.token else {}
        async with aiohttp.ClientSession() as session:
            try:
                connecting = session.ws_connect(self.url, headers=headers, max_msg_size=0, heartbeat=self._heartbeat_seconds)
                async with connecting as self._socket:
                    await self._read_frames()
            except aiohttp.WSServerHandshakeError as error:
                self.refused = error.status

    async def _read_frames(self) -> None:
        tasks = set()
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            self.frames.append(message.data)
            frame = json.loads(message.data)
            self.received.append(frame)
            tasks.add(asyncio.create_task(self._react(frame)))
        self.close_code = self._socket.close_code
        for task in tasks:
            task.cancel()

    async def _react(self, frame: Frame) -> None:
        with suppress(ConnectionError):
            if self._greeting is not None:
                await self._socket.send_str(self._greeting)
            elif frame["message"] == "Connection id":
                self.id = frame["id"] if self.wanted is None else self.wanted
                await self.send(self.id, "Connection id")
            elif frame["message"] == "ping":
                await self._answer_ping(frame["id"])
            elif frame["message"] == "ChatGptRequest":
                self.requests.append(json.loads(frame["data"]))
                await self._answer(frame["id"], json.loads(frame["data"]))

    async def _answer_ping(self, ping_id: str) -> None:
        match self.pong.split():
            case ["pong"]:
                await self.send(ping_id, "pong")
            case ["late", seconds]:
                await asyncio.sleep(float(seconds))
                await self.send(ping_id, "pong")
            case ["wrong", "id"]:
                await self.send("another id", "pong")
            case ["close"]:
                await self._socket.close()

    async def _answer(self, request_id: str, request: Frame) -> None:
        content = request["content"]
        match content.split()[:2]:
            case ["silent"]:
                return
            case ["close"]:
                await self._socket.close()
            case ["wrong", "id"]:
                await self.send("another id", "ChatGptResponse", json.dumps(self._payload(request)))
            case ["no", "json"]:
                await self._socket.send_str("this is no JSON")
            case ["number"]:
                await self._socket.send_str(json.dumps({"id": request_id, "message": "ChatGptResponse", "data": {"a": 1}}))
            case ["bad", "data"]:
                await self.send(request_id, "ChatGptResponse", "this is no JSON")
            case ["error"]:
                frame = {"id": request_id, "message": "error", "data": "Unknown error", "error": {}}
                await self._socket.send_str(json.dumps(frame))
            case ["empty"]:
                await self.send(request_id, "ChatGptResponse", "{}")
            case ["own", "error"]:
                await self.send(request_id, "ChatGptResponse", json.dumps({"id": "x", "content": "", "error": "boom"}))
            case ["binary"]:
                frame = {"id": request_id, "message": "ChatGptResponse", "data": json.dumps(self._payload(request))}
                await self._socket.send_bytes(json.dumps(frame).encode())
            case ["slow", seconds]:
                await asyncio.sleep(float(seconds))
                await self.send(request_id, "ChatGptResponse", json.dumps(self._payload(request)))
            case _:
                await self.send(request_id, "ChatGptResponse", json.dumps(self._payload(request)))

    def _payload(self, request: Frame) -> Frame:
        return {
            "response_id": str(uuid.uuid4()),
            "conversation_id": request["conversation_id"] or str(uuid.uuid4()),
            "content": f"{self.id} received {request['content']}",
        }

    async def send(self, frame_id: str, message: str, data: str = "") -> None:
        """Send a frame."""
        await self._socket.send_str(json.dumps({"id": frame_id, "message": message, "data": data}))

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the agent's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(JOIN_SECONDS)

    def vanish(self) -> None:
        """Drop the connection without a word."""
        self._loop.call_soon_threadsafe(self._abort)
        self._thread.join(JOIN_SECONDS)

    def _abort(self) -> None:
        connection = self._socket._response.connection  # noqa: SLF001 - aiohttp has no way to hang up without a word
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()

    def close(self) -> None:
        """Close the connection in order."""
        if not self.is_over:
            with suppress(RuntimeError):
                self.do(self._socket.close())
        self._thread.join(JOIN_SECONDS)

    def __enter__(self) -> Self:
        """Stay for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.close()
