"""The server's end of a WebSocket (RFC 6455), on the very socket that its request came by. wsproto knows the frames.

The thread that serves the request reads; any thread may send or hang up. There is no library between: simple-websocket may cut a
long message short (it sends by `send`, which on gevent takes as much as there is room for), lets a pong into the middle of a
message, and keeps a second thread per socket, which on threads never ends if the peer is silent.
"""

import base64
import binascii
import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from io import BytesIO, StringIO
from typing import Any, Self

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, generate_accept_token

VERSION = "13"
NONCE_BYTES = 16
READ_BYTES = 16 * 1024
FRAMES_PER_SECOND = 10_000
"""A peer that sends more is held up, so that it cannot keep the others of this process from their turn."""
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""A longer message ends the connection."""
PING_SECONDS = 20.0
"""A peer that was silent for so long is pinged: that keeps proxies from cutting the connection, and shows whether the peer
is alive. It is also as long as sending a message may take."""
CLOSE_SECONDS = 1.0

_ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
_WORDS = {
    CloseReason.NORMAL_CLOSURE: " (normal)",
    CloseReason.GOING_AWAY: " (going away)",
    CloseReason.ABNORMAL_CLOSURE: " (abnormal closure)",
}


class NotWebSocket(Exception):
    """The request does not ask for a WebSocket of the version that we speak."""


class Closed(Exception):
    """The connection is over; the message is worded as by Go's WebSocket library."""

    def __init__(self, code: int, reason: str = "") -> None:
        """Keep the close code, and word the reason."""
        self.code = code
        words = next((words for known, words in _WORDS.items() if known == code), "")
        super().__init__(f"websocket: close {int(code)}{words}" + (f": {reason}" if reason else ""))


class WebSocket:
    """One connection. Silence of the peer beyond `silence_seconds` ends it."""

    def __init__(self, sock: Any, silence_seconds: float) -> None:
        """Begin, after the handshake, on a connected socket; `silence_seconds` bounds how long the peer may send nothing."""
        self._socket = sock
        self._socket.settimeout(PING_SECONDS)
        self._silence_seconds = silence_seconds
        self._frames = Connection(ConnectionType.SERVER)
        self._sending = threading.Lock()
        self._messages: deque[str | bytes] = deque()
        self._text = StringIO()
        self._bytes = BytesIO()
        self._size = 0
        self._received_at = time.monotonic()
        self._leaving: Closed | None = None
        self._over: Closed | None = None

    @classmethod
    def accept(cls, environ: Mapping[str, Any], silence_seconds: float) -> Self:
        """Accept the WebSocket that a request asks for, on gunicorn's own socket.

        Raises:
            NotWebSocket: it is another request.
            OSError: the peer has hung up.
        """
        key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
        is_asked = environ["REQUEST_METHOD"] == "GET" and environ.get("HTTP_SEC_WEBSOCKET_VERSION") == VERSION
        if not is_asked or not _is_nonce(key) or "gunicorn.socket" not in environ:
            raise NotWebSocket
        sock = environ["gunicorn.socket"]
        sock.sendall(_ACCEPTED % generate_accept_token(key.encode()))
        return cls(sock, silence_seconds)

    def receive(self) -> str | bytes:
        """Wait for a message. For the one thread that reads. What came before a close, or before what is no frame, counts.

        Raises:
            Closed: there will be no more.
        """
        while not self._messages:
            if self._over is not None:
                raise self._over
            try:
                self._read()
            except Closed as closed:
                self._over = closed
        return self._messages.popleft()

    def send(self, text: str) -> None:
        """Send a message; from any thread.

        Raises:
            Closed: it cannot be sent.
        """
        self._send(TextMessage(data=text))

    def hang_up(self, code: int, reason: str = "") -> None:
        """Let the reader end, which then closes with this code; from any thread, and at once."""
        self._leaving = self._leaving or Closed(code, reason)
        with contextlib.suppress(OSError):  # it is over already
            self._socket.shutdown(socket.SHUT_RD)

    def close(self, code: int = CloseReason.NORMAL_CLOSURE) -> None:
        """Send a close frame, if none was sent, and end. For the thread that reads, when it is done."""
        if self._leaving is not None:
            code = self._leaving.code
        if self._sending.acquire(timeout=CLOSE_SECONDS):
            with contextlib.suppress(LocalProtocolError, OSError):  # it was sent already, or there is nobody to send it to
                self._socket.settimeout(CLOSE_SECONDS)
                self._socket.sendall(self._frames.send(CloseConnection(code)))
            self._sending.release()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except TimeoutError:
            return self._ping_or_give_up()
        except OSError as error:
            raise self._leaving or Closed(CloseReason.ABNORMAL_CLOSURE, str(error)) from error
        if self._leaving is not None:
            raise self._leaving
        if not data:
            raise Closed(CloseReason.ABNORMAL_CLOSURE, "unexpected EOF")
        self._received_at = time.monotonic()
        self._frames.receive_data(data)
        frames = 0
        for event in self._frames.events():
            self._handle(event)
            frames += 1
        time.sleep(max(frames - 1, 0) / FRAMES_PER_SECOND)  # also of 0 s: then it is only the others' turn
        return None

    def _ping_or_give_up(self) -> None:
        """Ping a silent peer; give it up when it was silent for too long."""
        silent_seconds = time.monotonic() - self._received_at
        if silent_seconds > self._silence_seconds:
            raise Closed(CloseReason.ABNORMAL_CLOSURE, f"i/o timeout: silent for {silent_seconds:.0f} s")
        self._send(Ping())

    def _handle(self, event: Event) -> None:
        if isinstance(event, TextMessage | BytesMessage):
            self._add_part(event)
        elif isinstance(event, Ping):
            self._send(event.response())
        elif isinstance(event, CloseConnection):
            with contextlib.suppress(Closed):
                self._send(event.response())
            raise Closed(event.code, event.reason or "")

    def _add_part(self, event: TextMessage | BytesMessage) -> None:
        self._size += len(event.data) + 1  # an empty part costs something too
        if self._size > MAX_MESSAGE_BYTES:
            self._leaving = Closed(CloseReason.MESSAGE_TOO_BIG, "read limit exceeded")
            raise self._leaving
        if isinstance(event, TextMessage):
            self._text.write(event.data)
        else:
            self._bytes.write(event.data)
        if event.message_finished:
            self._messages.append(self._text.getvalue() if isinstance(event, TextMessage) else self._bytes.getvalue())
            self._text, self._bytes, self._size = StringIO(), BytesIO(), 0

    def _send(self, event: Event) -> None:
        with self._sending:
            try:
                self._socket.sendall(self._frames.send(event))
            except LocalProtocolError as error:
                raise self._leaving or Closed(CloseReason.ABNORMAL_CLOSURE, "use of closed connection") from error
            except OSError as error:
                # It may have been sent in part: nothing more can follow.
                self.hang_up(CloseReason.ABNORMAL_CLOSURE, str(error))
                raise Closed(CloseReason.ABNORMAL_CLOSURE, str(error)) from error


def _is_nonce(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == NONCE_BYTES
    except (binascii.Error, ValueError):
        return False
