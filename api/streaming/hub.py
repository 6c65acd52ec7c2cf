"""One pub/sub connection, many readers: hears every followed job's events once per process and hands them out in memory.

A message may be lost, late or doubled and nobody notices: readers replay the log when they begin, whenever a number is missing, and
whenever the hub has had to connect anew. What the hub guarantees is only this: once a subscription is *confirmed*, whatever is
published afterwards reaches it, or else it is told to read the log.

Written on plain `threading`, so that it runs on gunicorn's threads and, patched, on gevent.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from redis import Redis
from redis.connection import ConnectionInterface
from redis.exceptions import RedisError

from api.streaming.hearing import hear
from api.streaming.subscription import Subscription
from shared import events, keyspace
from shared.ids import new_id

PING_SECONDS = 10.0
AWAY_FIRST_SECONDS = 0.05
AWAY_MAX_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Hub:
    """The process' one subscriber. Its listener starts with the first reader, after any fork."""

    def __init__(self, client: Redis) -> None:
        """Prepare with a client made by `redis_clients.subscriber`."""
        self._client = client
        self._channel = keyspace.hub_channel(new_id("hub"))
        self._readers: dict[str, set[Subscription]] = defaultdict(set)
        self._unconfirmed: dict[str, int] = defaultdict(int)
        self._connection: ConnectionInterface | None = None
        self._lock = threading.Lock()
        self._listener: threading.Thread | None = None
        self._closing = False

    @contextmanager
    def subscription(self, job_id: str) -> Iterator[Subscription]:
        """Listen to a job's events for as long as the block runs."""
        reader = Subscription()
        channel = keyspace.live_channel(job_id)
        self._add(channel, reader)
        try:
            yield reader
        finally:
            self._remove(channel, reader)

    @property
    def is_closing(self) -> bool:
        """Whether this process is stopping."""
        return self._closing

    def close(self) -> None:
        """Tell every reader, now and later, to hang up. Safe to call from a signal handler: it only sets a flag."""
        self._closing = True

    def followed(self) -> list[str]:
        """Name the jobs that have readers."""
        with self._lock:
            return [keyspace.job_of_channel(channel) for channel in self._readers]

    def readers(self) -> int:
        """Count the readers."""
        with self._lock:
            return sum(len(readers) for readers in self._readers.values())

    def end(self, job_ids: Iterable[str]) -> None:
        """Tell the readers of these jobs that they are over."""
        with self._lock:
            for job_id in job_ids:
                for reader in self._readers.get(keyspace.live_channel(job_id), ()):
                    reader.end(over=True)

    def _add(self, channel: str, reader: Subscription) -> None:
        with self._lock:
            if self._closing:
                reader.end(closing=True)
            first = channel not in self._readers
            self._readers[channel].add(reader)
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="hub", daemon=True)
                self._listener.start()
            if first:
                self._send("SUBSCRIBE", channel)
            elif self._connection is not None and channel not in self._unconfirmed:
                reader.confirm(True)

    def _remove(self, channel: str, reader: Subscription) -> None:
        with self._lock:
            self._readers[channel].discard(reader)
            if not self._readers[channel]:
                del self._readers[channel]
                self._send("UNSUBSCRIBE", channel)

    def _send(self, command: str, *channels: str) -> None:
        """Send under the lock. A failure is the listener's to notice: it connects anew and subscribes to everything."""
        if self._connection is None:
            return
        if command == "SUBSCRIBE":
            for channel in channels:
                self._unconfirmed[channel] += 1
        try:
            self._connection.send_command(command, *channels)
        except (RedisError, OSError) as error:
            # redis-py would connect anew by itself, with none of the other channels.
            self._connection = None
            log.warning("hub.send_failed", error=str(error))

    def _listen(self) -> None:
        away_seconds = AWAY_FIRST_SECONDS
        while not self._closing:
            try:
                self._connect()
                away_seconds = AWAY_FIRST_SECONDS
                self._receive()
            except (RedisError, OSError) as error:
                log.warning("hub.redis_away", error=str(error))
            except Exception:
                log.exception("hub.broken")  # and on, with a new connection: without its listener a process is deaf
            self._disconnect()
            time.sleep(away_seconds)
            away_seconds = min(2 * away_seconds, AWAY_MAX_SECONDS)
        self._close_readers()

    def _connect(self) -> None:
        connection: ConnectionInterface = self._client.connection_pool.make_connection()
        connection.connect()
        with self._lock:
            self._connection = connection
            self._unconfirmed.clear()
            self._send("SUBSCRIBE", self._channel, *self._readers)

    def _disconnect(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            for reader in self._all_readers():
                reader.confirm(False)
        if connection is not None:
            connection.disconnect()

    def _close_readers(self) -> None:
        with self._lock:
            for reader in self._all_readers():
                reader.end(closing=True)

    def _all_readers(self) -> list[Subscription]:
        return [reader for readers in self._readers.values() for reader in readers]

    def _receive(self) -> None:
        """Read until the connection breaks, or has not answered a ping."""
        connection = self._connection
        assert connection is not None

        def is_over() -> bool:
            return self._closing or self._connection is not connection

        for message in hear(connection, self._ping, is_over, ping_seconds=PING_SECONDS):
            self._dispatch(message)
        connection.disconnect()

    def _ping(self) -> None:
        with self._lock:
            self._send("PING")

    def _dispatch(self, message: Any) -> None:
        kind, channel, data = message[0], message[1].decode(), message[-1]
        if kind == b"message":
            heard = events.unpack(data)
            with self._lock:
                for reader in self._readers.get(channel, ()):
                    reader.hear(heard)
        elif kind == b"subscribe":
            self._confirmed(channel)

    def _confirmed(self, channel: str) -> None:
        with self._lock:
            self._unconfirmed[channel] -= 1
            if self._unconfirmed[channel] <= 0:
                del self._unconfirmed[channel]
                for reader in self._readers.get(channel, ()):
                    reader.confirm(True)
