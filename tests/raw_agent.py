"""An agent that speaks in bytes: what no library would send."""

import base64
import json
import secrets
import socket
import struct
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Pong, TextMessage

READ_BYTES = 65536
WAIT_SECONDS = 20.0
PATH = "/client/register"
LINGER_NOT = struct.pack("ii", 1, 0)

Frame = dict[str, Any]


class RawAgent:
    """One connection, read and written by the test itself."""

    def __init__(self, url: str, token: str, agent_id: str | None = None) -> None:
        """Connect, and send an id, unless `agent_id` is empty."""
        place = urlsplit(url)
        assert place.hostname is not None
        self.socket = socket.create_connection((place.hostname, place.port or 80), WAIT_SECONDS)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        request = (
            f"GET {PATH} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: {token}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        self.write(request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        self.frames = Connection(ConnectionType.CLIENT)
        self.close_code: int | None = None
        self._events: list[Event] = []
        self._text = ""
        self.id = str(self.receive()["id"]) if agent_id is None else agent_id
        if self.id:
            self.send_message(self.id)

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send(self, *events: Event) -> None:
        """Send frames, all at once."""
        self.write(b"".join(self.frames.send(event) for event in events))

    def message(self, frame_id: str, message: str = "", data: str = "") -> TextMessage:
        """Make a message of the agents' protocol."""
        return TextMessage(json.dumps({"id": frame_id, "message": message, "data": data}))

    def send_message(self, frame_id: str, message: str = "", data: str = "") -> None:
        """Send a message of the agents' protocol."""
        self.send(self.message(frame_id, message, data))

    def receive(self, message: str | None = None) -> Frame:
        """Wait for the next message, or for the next one of a kind; what comes between is left unanswered."""
        while True:
            event = self._event()
            assert isinstance(event, TextMessage), event
            self._text += event.data
            if not event.message_finished:
                continue
            frame: Frame = json.loads(self._text)
            self._text = ""
            if message in {None, frame["message"]}:
                return frame

    def receive_request(self) -> Frame:
        """Answer the next ping, and return the question behind it."""
        self.send_message(self.receive("ping")["id"], "pong")
        return self.receive("ChatGptRequest")

    def answer(self, question: Frame, **payload: str) -> None:
        """Answer a question."""
        self.send_message(question["id"], "ChatGptResponse", json.dumps(payload))

    def pong(self) -> bytes:
        """Wait for the answer to a Ping frame."""
        while not isinstance(event := self._event(), Pong):
            assert event is not None, "the connection was cut"
        return bytes(event.payload)

    def closed(self) -> int:
        """Wait until the server has closed the connection; return its code (0: it sent none)."""
        while True:
            event = self._event()
            if event is None or isinstance(event, CloseConnection):
                return event.code if event else 0

    def _event(self) -> Event | None:
        while not self._events:
            try:
                data = self.socket.recv(READ_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self.frames.receive_data(data)
            self._events += self.frames.events()
        return self._events.pop(0)

    def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.socket.close()

    def __enter__(self) -> Self:
        """Stay for a block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave."""
        self.socket.close()
