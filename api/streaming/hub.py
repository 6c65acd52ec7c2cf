"""One pub/sub connection, many readers: receives every followed job's events once per process and hands them out in memory.

A message may be lost, late or doubled and nobody notices: readers replay the log when they begin, whenever a number is missing, and
whenever the hub has connected anew. What the hub guarantees is only this: once a subscription is *confirmed*, whatever is
published afterwards reaches it, or else it must read the log.

Written on plain `threading`, so that it runs on gunicorn's threads and, patched, on gevent.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from redis import Redis

from api.streaming.batch import Batch, DirectReader
from api.streaming.subscription import Subscription
from shared import events
from shared.ids import new_id
from shared.pubsub.policy import LogEvents
from shared.pubsub.thread_listener import ThreadListener
from shared.redis import keyspace

LOG_EVENTS = LogEvents(redis_away="hub.redis_away", broken="hub.broken")


class Hub:
    """The process' one subscriber. Its listener starts with the first reader, after any fork.

    The hub's lock is taken before the listener's, never behind it: the listener calls back without its own.
    """

    def __init__(self, client: Redis) -> None:
        """Keep a client made by `redis_clients.subscriber`; nothing is connected yet."""
        self._subscriptions: dict[str, set[Subscription]] = defaultdict(set)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._listener = ThreadListener(
            client,
            LOG_EVENTS,
            on_message=self._receive,
            on_subscribed=self._confirm,
            on_lost=self._unconfirm_all,
            is_over=lambda: self._closing,
        )

    @contextmanager
    def subscription(self, job_id: str, direct: DirectReader | None = None) -> Iterator[Subscription]:
        """Subscribe to a job's events for as long as the block runs.

        Args:
            job_id: the job.
            direct: how to write to the reader while it waits; None: it writes all by itself.
        """
        subscription = Subscription(direct)
        channel = keyspace.live_channel(job_id)
        self._add(channel, subscription)
        try:
            yield subscription
        finally:
            self._remove(channel, subscription)

    @property
    def is_closing(self) -> bool:
        """Whether this process is stopping."""
        return self._closing

    def close(self) -> None:
        """Make every reader, now and later, hang up. Safe to call from a signal handler: it only sets a flag."""
        self._closing = True

    def followed(self) -> list[str]:
        """Return the ids of the jobs that have readers."""
        with self._lock:
            return [keyspace.job_of_channel(channel) for channel in self._subscriptions]

    def end(self, job_ids: Iterable[str]) -> None:
        """Let the readers of these jobs know that they are over."""
        with self._lock:
            for job_id in job_ids:
                for subscription in self._subscriptions.get(keyspace.live_channel(job_id), ()):
                    subscription.end(over=True)

    def _add(self, channel: str, subscription: Subscription) -> None:
        with self._lock:
            if self._closing:
                subscription.end(closing=True)
            is_first = channel not in self._subscriptions
            self._subscriptions[channel].add(subscription)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="hub", daemon=True)
                self._thread.start()
            if is_first:
                self._listener.subscribe(channel)
            elif self._listener.is_subscribed(channel):
                subscription.confirm(True)

    def _remove(self, channel: str, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions[channel].discard(subscription)
            if not self._subscriptions[channel]:
                del self._subscriptions[channel]
                self._listener.unsubscribe(channel)

    def _listen(self) -> None:
        self._listener.subscribe(keyspace.hub_channel(new_id("hub")))
        self._listener.run()
        with self._lock:
            for subscription in self._all():
                subscription.end(closing=True)

    def _receive(self, channel: str, message: bytes) -> None:
        batch = Batch(events.unpack(message))
        with self._lock:
            for subscription in self._subscriptions.get(channel, ()):
                subscription.receive(batch)

    def _confirm(self, channel: str) -> None:
        with self._lock:
            # Checked again under the lock: the last reader may have left, and a new one come that waits for its own confirmation.
            if self._listener.is_subscribed(channel):
                for subscription in self._subscriptions.get(channel, ()):
                    subscription.confirm(True)

    def _unconfirm_all(self) -> None:
        with self._lock:
            for subscription in self._all():
                subscription.confirm(False)

    def _all(self) -> list[Subscription]:
        return [each for subscriptions in self._subscriptions.values() for each in subscriptions]
