"""The server's end of a WebSocket, against wsproto's client at the other end of a real socket."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from api.agents import websocket
from api.agents.websocket import Closed, NotWebSocket, WebSocket

READ_BYTES = 65536
NONCE = "AAAAAAAAAAAAAAAAAAAAAA=="
REQUEST = {"REQUEST_METHOD": "GET", "HTTP_SEC_WEBSOCKET_VERSION": "13", "HTTP_SEC_WEBSOCKET_KEY": NONCE}


class Peer:
    """The client's end."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(10)
        self.frames = Connection(ConnectionType.CLIENT)

    def send(self, event: Event) -> None:
        self.socket.sendall(self.frames.send(event))

    def events(self) -> Iterator[Event]:
        """Yield what comes, to the end."""
        while data := self.socket.recv(READ_BYTES):
            self.frames.receive_data(data)
            yield from self.frames.events()


@pytest.fixture
def ends() -> Iterator[tuple[WebSocket, Peer]]:
    """Both ends of a connection that was opened."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        opened = WebSocket.accept({**REQUEST, "gunicorn.socket": ours}, silence_seconds=60)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += theirs.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=" in head
        yield opened, Peer(theirs)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize(
    "wrong",
    [
        {"REQUEST_METHOD": "POST"},
        {"HTTP_SEC_WEBSOCKET_VERSION": "8"},
        {"HTTP_SEC_WEBSOCKET_KEY": ""},
        {"HTTP_SEC_WEBSOCKET_KEY": "short"},
        {"HTTP_SEC_WEBSOCKET_KEY": "ü"},
    ],
    ids=["method", "version", "no key", "short key", "no base64"],
)
def test_another_request_is_not_accepted(wrong: dict[str, str]) -> None:
    with pytest.raises(NotWebSocket):
        WebSocket.accept({**REQUEST, **wrong, "gunicorn.socket": None}, silence_seconds=60)
    with pytest.raises(NotWebSocket):
        WebSocket.accept(REQUEST, silence_seconds=60)


def test_messages_of_both_kinds_whole_and_in_parts(ends: tuple[WebSocket, Peer]) -> None:
    ours, peer = ends
    peer.send(TextMessage("ü", message_finished=False))
    peer.send(Ping(b"between"))
    peer.send(TextMessage("", message_finished=False))
    peer.send(TextMessage("💬"))
    peer.send(BytesMessage(b"a", message_finished=False))
    peer.send(BytesMessage(b"b"))
    assert [ours.receive(), ours.receive()] == ["ü💬", b"ab"]
    assert next(peer.events()) == Pong(b"between")


def test_a_message_larger_than_every_buffer_arrives_whole_with_pongs_between(
    ends: tuple[WebSocket, Peer], threads: ThreadPoolExecutor
) -> None:
    ours, peer = ends
    text = "0123456789" * 400_000
    sent = [threads.submit(ours.send, text) for _ in range(2)]
    reading = threads.submit(ours.receive)
    for number in range(20):
        peer.send(Ping(b"%d" % number))
    whole, part, pongs = [], [], 0
    for event in peer.events():
        pongs += isinstance(event, Pong)
        if isinstance(event, TextMessage):
            part.append(event.data)
            if event.message_finished:
                whole.append("".join(part))
                part = []
        if len(whole) == 2 and pongs == 20:
            break
    assert whole == [text, text]
    assert [each.result() for each in sent] == [None, None]
    peer.send(TextMessage("done"))
    assert reading.result(10) == "done"


def _closed(reading: "Future[str | bytes]") -> str:
    error = reading.exception(10)
    assert isinstance(error, Closed)
    return str(error)


def test_a_peer_that_closes(ends: tuple[WebSocket, Peer]) -> None:
    ours, peer = ends
    peer.send(CloseConnection(1000, "enough"))
    with pytest.raises(Closed, match=r"websocket: close 1000 \(normal\): enough"):
        ours.receive()
    ours.close()
    assert [event.code for event in peer.events() if isinstance(event, CloseConnection)] == [1000]
    with pytest.raises(Closed):
        ours.send("too late")


def test_what_was_sent_before_the_end_is_received(ends: tuple[WebSocket, Peer]) -> None:
    ours, peer = ends
    peer.socket.sendall(
        b"".join(peer.frames.send(event) for event in (TextMessage("last"), TextMessage("words"), CloseConnection(1000)))
    )
    assert [ours.receive(), ours.receive()] == ["last", "words"]
    for _ in range(2):
        with pytest.raises(Closed, match="close 1000"):
            ours.receive()


def test_a_peer_that_is_gone(ends: tuple[WebSocket, Peer]) -> None:
    ours, peer = ends
    peer.socket.close()
    with pytest.raises(Closed, match=r"websocket: close 1006 \(abnormal closure\): unexpected EOF"):
        ours.receive()
    with pytest.raises(Closed):
        ours.send("too late")
    ours.close()


def test_hanging_up_wakes_the_reader_and_sends_a_close(ends: tuple[WebSocket, Peer], threads: ThreadPoolExecutor) -> None:
    ours, peer = ends
    reading = threads.submit(ours.receive)
    ours.hang_up(1001, "this server stops")
    assert _closed(reading) == "websocket: close 1001 (going away): this server stops"
    ours.close()
    assert [event.code for event in peer.events() if isinstance(event, CloseConnection)] == [1001]


def test_a_message_that_is_too_large(
    ends: tuple[WebSocket, Peer], threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE_BYTES", 1000)
    ours, peer = ends
    reading = threads.submit(ours.receive)
    for _ in range(250):
        peer.send(TextMessage("0123", message_finished=False))
    assert _closed(reading) == "websocket: close 1009: read limit exceeded"
    ours.close()
    assert [event.code for event in peer.events() if isinstance(event, CloseConnection)] == [1009]


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\xff\xff\xff\xff", 1002), (b"\x81\x01a", 1002), (b"\x81\x81\0\0\0\0\xff", 1007)],
    ids=["rubbish", "unmasked", "no UTF-8"],
)
def test_what_is_no_frame_ends_the_connection(ends: tuple[WebSocket, Peer], frame: bytes, code: int) -> None:
    ours, peer = ends
    peer.socket.sendall(frame)
    with pytest.raises(Closed, match=f"websocket: close {code}"):
        ours.receive()
    ours.close()
    assert [event.code for event in peer.events() if isinstance(event, CloseConnection)] == [code]


def test_silence(monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor) -> None:
    # Given a socket that pings soon
    monkeypatch.setattr(websocket, "PING_SECONDS", 0.1)
    one, other = socket.socketpair()
    with one, other:
        ours, peer = WebSocket(one, silence_seconds=3), Peer(other)
        reading = threads.submit(ours.receive)
        # Who answers pings stays
        events = peer.events()
        for _ in range(40):
            ping = next(events)
            assert isinstance(ping, Ping)
            peer.send(ping.response())
        assert not reading.done()
        # Who does not is given up
        assert "silent for" in _closed(reading)


def test_a_peer_that_takes_nothing_does_not_hold_up_for_ever(monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor) -> None:
    monkeypatch.setattr(websocket, "PING_SECONDS", 0.2)
    one, other = socket.socketpair()
    with one, other:
        ours = WebSocket(one, silence_seconds=60)
        reading = threads.submit(ours.receive)
        with pytest.raises(Closed):
            ours.send("0" * 10_000_000)
        assert "websocket: close 1006" in _closed(reading)
        threads.submit(ours.close).result(5)
