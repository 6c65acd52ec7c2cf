"""The listener for a thread; it runs on gevent's threads, too."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import structlog
from redis import Redis
from redis.connection import ConnectionInterface
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.pubsub import policy
from shared.pubsub.policy import LogEvents, Retries, Silence

log = structlog.get_logger(__name__)


class ThreadListener:
    """A listener for a thread, with channels that come and go.

    Any thread may subscribe and unsubscribe; the callbacks are called by the one that runs.
    """

    def __init__(
        self,
        client: Redis,
        log_events: LogEvents,
        *,
        on_message: Callable[[str, bytes], None],
        is_over: Callable[[], bool],
        on_subscribed: Callable[[str], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep what is needed to connect; `run` does.

        Args:
            client: made by `redis_clients.subscriber`.
            log_events: how to log what goes wrong.
            on_message: takes a channel, and what was published on it.
            is_over: whether to end; called often.
            on_subscribed: takes a channel whose subscription was just confirmed, for the first time or anew.
            on_lost: called when a connection has ended, before the next one begins.
        """
        self._client = client
        self._log_events = log_events
        self._on_message = on_message
        self._is_over = is_over
        self._on_subscribed = on_subscribed
        self._on_lost = on_lost
        self._channels: set[str] = set()
        self._unconfirmed: dict[str, int] = defaultdict(int)
        self._connection: ConnectionInterface | None = None
        self._lock = threading.Lock()

    def subscribe(self, channel: str) -> None:
        """Listen on a channel; until it is confirmed, messages may be lost."""
        with self._lock:
            self._channels.add(channel)
            self._send("SUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        """Listen on a channel no more."""
        with self._lock:
            self._channels.discard(channel)
            self._send("UNSUBSCRIBE", channel)

    def is_subscribed(self, channel: str) -> bool:
        """Return whether a channel's subscription is confirmed, on the connection that stands now."""
        with self._lock:
            return self._connection is not None and channel in self._channels and channel not in self._unconfirmed

    def run(self) -> None:
        """Listen until it is over."""
        retries = Retries()
        pool = self._client.connection_pool
        while not self._is_over():
            # Not by the pool's `make_connection`, which counts, and refuses the hundredth for good.
            connection: ConnectionInterface = pool.connection_class(**pool.connection_kwargs)
            try:
                self._connect(connection)
                retries.reset()
                self._receive(connection)
            except (RedisError, OSError) as error:
                log.warning(self._log_events.redis_away, error=str(error))
            except Exception:  # the boundary of a thread: what it serves would be cut off for good
                log.exception(self._log_events.broken)
            self._disconnect(connection)
            time.sleep(retries.seconds())

    def _connect(self, connection: ConnectionInterface) -> None:
        connection.connect()
        with self._lock:
            self._connection = connection
            self._unconfirmed.clear()
            if self._channels:
                self._send("SUBSCRIBE", *self._channels)

    def _disconnect(self, connection: ConnectionInterface) -> None:
        with self._lock:
            self._connection = None  # first: a command that is sent on a closed connection opens it again
        connection.disconnect()
        self._on_lost()

    def _send(self, command: str, *channels: str) -> None:
        """Send under the lock. After a failure the connection is given up: the listener connects anew, with all channels."""
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
            log.warning(self._log_events.redis_away, error=str(error))

    def _receive(self, connection: ConnectionInterface) -> None:
        """Receive until the connection breaks, is given up, or it is over."""
        silence = Silence()
        while not self._is_over() and self._connection is connection:
            try:
                reply = connection.read_response(timeout=policy.READ_SECONDS, disconnect_on_error=False)
            except RedisTimeoutError:
                if silence.needs_ping():
                    with self._lock:
                        self._send("PING")
                continue
            silence.end()
            self._dispatch(reply)

    def _dispatch(self, reply: Any) -> None:
        kind, channel = reply[0], reply[1].decode()
        if kind == b"message":
            self._on_message(channel, reply[-1])
        elif kind == b"subscribe" and self._confirm(channel):
            self._on_subscribed(channel)

    def _confirm(self, channel: str) -> bool:
        """Count one confirmation; return whether it was that of the newest subscription."""
        with self._lock:
            self._unconfirmed[channel] -= 1
            is_last = self._unconfirmed[channel] <= 0
            if is_last:
                del self._unconfirmed[channel]
            return is_last
