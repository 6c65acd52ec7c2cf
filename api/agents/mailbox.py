"""One process' mailbox for all its agents: one subscription, on which workers' asks arrive."""

import threading
import time
from collections.abc import Callable
from functools import partial

import structlog
from redis import Redis
from redis.exceptions import RedisError

from api.streaming.hearing import hear

PING_SECONDS = 2.0
"""A Redis that was silent for so long is pinged, and given up after twice as long: until then, asks are not accepted."""
AWAY_SECONDS = 0.2

log = structlog.get_logger(__name__)


class Mailbox:
    """Passes on whatever is published on one channel."""

    def __init__(self, client: Redis, channel: str, take: Callable[[bytes], None], is_over: Callable[[], bool]) -> None:
        """Prepare with a client made by `redis_clients.subscriber`."""
        self._client = client
        self._channel = channel
        self._take = take
        self._is_over = is_over

    def start(self) -> None:
        """Listen, in a thread of its own, until it is over."""
        threading.Thread(target=self._run, name="agent-mailbox", daemon=True).start()

    def _run(self) -> None:
        while not self._is_over():
            try:
                self._listen()
            except (RedisError, OSError) as error:
                log.warning("agent.redis_away", error=str(error))
            except Exception:
                log.exception("agent.mailbox_broken")  # and on: without its mailbox a process' agents are never asked
            time.sleep(AWAY_SECONDS)

    def _listen(self) -> None:
        connection = self._client.connection_pool.make_connection()
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", self._channel)
            ping = partial(connection.send_command, "PING")
            for message in hear(connection, ping, self._is_over, ping_seconds=PING_SECONDS):
                if message[0] == b"message":
                    self._take(message[-1])
        finally:
            connection.disconnect()
