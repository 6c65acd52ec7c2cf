"""Listen on Redis channels, in a thread or on an event loop, by one policy.

A listener subscribes, receives, and pings Redis when it was silent for a while; a connection that answers no ping is given up.
Whatever goes wrong, also in a callback, is logged, and the listener connects and subscribes anew after a short wait. Messages that
are published meanwhile are lost: a user of a listener that needs them is called when a subscription is confirmed, and looks then.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import redis.asyncio
import structlog
from redis import Redis
from redis.connection import ConnectionInterface
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

PING_SECONDS = 2.0
"""A Redis that was silent for so long is pinged, and given up after twice as long."""
READ_SECONDS = 0.5
"""How long one read waits: so soon a listener notices that it is over, or that a ping is due."""
RETRY_FIRST_SECONDS = 0.05
RETRY_MAX_SECONDS = 0.2
"""Waits before a new connection: they double from the first to this."""

log = structlog.get_logger(__name__)


class LogEvents(NamedTuple):
    """Under which names a listener logs what goes wrong: Redis is away; a defect, maybe of a callback."""

    redis_away: str
    broken: str


class _Silence:
    """How long Redis has been silent on one connection, and what to do about it."""

    def __init__(self) -> None:
        self._received = self._pinged = time.monotonic()

    def end(self) -> None:
        """Note that something was received."""
        self._received = time.monotonic()

    def needs_ping(self) -> bool:
        """Return whether a ping is due, which is then sent by the caller.

        Raises:
            RedisTimeoutError: Redis has not answered the last one.
        """
        now = time.monotonic()
        if now - self._received > 2 * PING_SECONDS:
            raise RedisTimeoutError(f"Redis was silent for {2 * PING_SECONDS:g} s.")
        is_due = now - max(self._received, self._pinged) > PING_SECONDS
        if is_due:
            self._pinged = now
        return is_due


class _Retries:
    """The waits between connections."""

    def __init__(self) -> None:
        self._next_seconds = RETRY_FIRST_SECONDS

    def reset(self) -> None:
        """Begin again with the shortest wait: there was a connection."""
        self._next_seconds = RETRY_FIRST_SECONDS

    def seconds(self) -> float:
        """Return the next wait."""
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, RETRY_MAX_SECONDS)
        return seconds


class ThreadListener:
    """A listener for a thread, with channels that come and go. It runs on gevent's threads, too.

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
        retries = _Retries()
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
        silence = _Silence()
        while not self._is_over() and self._connection is connection:
            try:
                reply = connection.read_response(timeout=READ_SECONDS, disconnect_on_error=False)
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


class LoopListener:
    """A listener for an event loop, with one channel."""

    def __init__(
        self, client: "redis.asyncio.Redis", log_events: LogEvents, channel: str, on_message: Callable[[bytes], None]
    ) -> None:
        """Keep what is needed to connect; `run` does.

        Args:
            client: has no time-out for answers of its own.
            log_events: how to log what goes wrong.
            channel: where to listen.
            on_message: takes what was published.
        """
        self._client = client
        self._log_events = log_events
        self._channel = channel
        self._on_message = on_message

    async def run(self) -> None:
        """Listen for ever."""
        retries = _Retries()
        while True:
            try:
                await self._receive(retries)
            except (RedisError, OSError) as error:
                log.warning(self._log_events.redis_away, error=str(error))
            except Exception:  # the boundary of a task: what it serves would be cut off for good
                log.exception(self._log_events.broken)
            await asyncio.sleep(retries.seconds())

    async def _receive(self, retries: _Retries) -> None:
        async with self._client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            silence = _Silence()
            while True:
                message = await pubsub.get_message(timeout=READ_SECONDS)
                if message is None:
                    if silence.needs_ping():
                        await pubsub.ping()
                    continue
                silence.end()
                if message["type"] == "subscribe":
                    retries.reset()
                elif message["type"] == "message":
                    self._on_message(message["data"])
