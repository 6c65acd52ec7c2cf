"""What is written straight to a client's socket: all of it, in order, however little the socket takes at once."""

import socket
import threading
from collections.abc import Iterator

import gevent.socket
import pytest

from api.streaming.batch import Batch, DirectReader
from api.streaming.direct import DirectWriter, chunk, direct_writer
from api.streaming.subscription import Subscription
from shared import events
from shared.events import Event

LARGE = 4_000_000
SOON_SECONDS = 5


class Client:
    """A client that reads only when it is told to, and the writer to it."""

    def __init__(self) -> None:
        """Connect."""
        ours, self.theirs = socket.socketpair()
        self.socket = gevent.socket.socket(ours.family, ours.type, ours.proto, fileno=ours.detach())
        self.writer = DirectWriter(self.socket)
        self.theirs.settimeout(SOON_SECONDS)

    def read(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        data = b""
        while len(data) < size:
            data += self.theirs.recv(size - len(data))
        return data

    def close(self) -> None:
        """Close both ends."""
        self.socket.close()
        self.theirs.close()


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


def delta(seq: int) -> Event:
    return events.make(1, seq, events.DELTA, {"delta": {"content": str(seq)}})


def frame(event: Event) -> bytes:
    return b"%d " % event.seq


def subscribed(client: Client) -> Subscription:
    """A subscription whose reader has read the log."""
    made = Subscription(DirectReader(client.writer, frame))
    made.confirm(True)
    assert made.must_read()
    made.wait(0)
    return made


class Idle:
    """A reader that waits at a cursor, in a thread, until `result`."""

    def __init__(self, subscription: Subscription, cursor: int) -> None:
        """Begin to wait."""
        self._cursors: list[int] = []
        self._thread = threading.Thread(target=lambda: self._cursors.append(subscription.wait(SOON_SECONDS, cursor)), daemon=True)
        self._thread.start()
        while not subscription._idle:
            self._thread.join(0.001)

    def result(self) -> int:
        """Wait until it waits no more, and return where it stands."""
        self._thread.join(SOON_SECONDS)
        return self._cursors[0]


def test_a_chunk_is_framed_as_http_says() -> None:
    assert chunk(b"x" * 26) == b"1A\r\n" + b"x" * 26 + b"\r\n"


def test_what_the_socket_takes_is_written_at_once(client: Client) -> None:
    assert client.writer.write(b"hello")
    assert client.read(5) == b"hello"


def test_what_it_does_not_take_is_written_by_the_flush(client: Client) -> None:
    data = bytes(range(256)) * (LARGE // 256)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(client.read(len(data))))

    assert not client.writer.write(data)
    reader.start()
    client.writer.flush()
    reader.join(SOON_SECONDS)

    assert received == [data]


def test_a_client_that_is_gone_is_told_by_the_flush(client: Client) -> None:
    client.theirs.close()

    assert not client.writer.write(b"hello")
    with pytest.raises(OSError, match="Broken pipe"):
        client.writer.flush()


@pytest.mark.parametrize(
    "change",
    [
        {"REQUEST_METHOD": "HEAD"},
        {"SERVER_PROTOCOL": "HTTP/1.0"},
        {"gunicorn.socket": None},
        {"gunicorn.socket": socket.socket()},
    ],
    ids=str,
)
def test_only_chunks_to_a_plain_socket_can_be_written_directly(client: Client, change: dict[str, object]) -> None:
    environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "gunicorn.socket": client.socket}

    assert direct_writer(environ) is not None
    assert direct_writer(environ | change) is None


def test_the_next_deltas_are_written_to_a_reader_that_waits(client: Client) -> None:
    subscription = subscribed(client)
    reader = Idle(subscription, cursor=2)

    subscription.receive(Batch([delta(3), delta(4)]))
    subscription.receive(Batch([delta(5)]))
    subscription.end(over=True)

    expected = b"4\r\n3 4 \r\n" + b"2\r\n5 \r\n"
    assert client.read(len(expected)) == expected
    assert reader.result() == 5
    assert list(subscription.received()) == []


@pytest.mark.parametrize(
    "published",
    [
        [delta(4)],
        [delta(2)],
        [delta(3), delta(5)],
        [events.make(1, 3, events.COMPLETED, {})],
        [delta(3), events.make(1, 4, events.COMPLETED, {})],
    ],
    ids=["a gap", "seen", "a gap inside", "an end", "an end behind a delta"],
)
def test_all_else_is_left_to_the_reader(client: Client, published: list[Event]) -> None:
    subscription = subscribed(client)
    reader = Idle(subscription, cursor=2)

    subscription.receive(Batch(published))

    assert reader.result() == 2
    assert list(subscription.received()) == published


def test_nothing_is_written_to_a_reader_that_has_something_to_do(client: Client) -> None:
    subscription = subscribed(client)

    subscription.receive(Batch([delta(1)]))  # it does not wait
    assert subscription.wait(0) == 0
    reader = Idle(subscription, cursor=0)
    subscription.receive(Batch([delta(2)]))  # it has not taken the first one yet

    assert reader.result() == 0
    assert [event.seq for event in subscription.received()] == [1, 2]


def test_a_reader_that_must_read_the_log_is_not_written_to(client: Client) -> None:
    subscription = subscribed(client)
    subscription._idle, subscription._cursor = True, 0
    subscription.confirm(False)
    subscription._ready.clear()

    subscription.receive(Batch([delta(1)]))

    assert subscription._ready.is_set()
    client.theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.theirs.recv(1)


def test_a_reader_whose_socket_was_full_goes_on_where_the_hub_stopped(client: Client) -> None:
    subscription = Subscription(DirectReader(client.writer, lambda event: b"%d" % event.seq * LARGE))
    subscription.confirm(True)
    assert subscription.must_read()
    subscription.wait(0)
    subscription._idle = True
    subscription.receive(Batch([delta(1)]))  # more than the socket takes
    subscription.receive(Batch([delta(2)]))  # to be written behind it, so by the reader itself
    expected = chunk(b"1" * LARGE)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(client.read(len(expected))))

    reader.start()
    cursor = subscription.wait(SOON_SECONDS, 1)
    reader.join(SOON_SECONDS)

    assert cursor == 1
    assert received == [expected]
    assert [event.seq for event in subscription.received()] == [2]


def test_events_are_framed_once_for_all_readers() -> None:
    framed: list[int] = []

    def counting(event: Event) -> bytes:
        framed.append(event.seq)
        return frame(event)

    batch = Batch([delta(1), delta(2)])

    assert batch.chunk(counting) == batch.chunk(counting) == chunk(b"1 2 ")
    assert framed == [1, 2]
