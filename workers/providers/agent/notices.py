"""Receive the notices of this worker's agent requests: one subscription for all of them, told apart by the request's id.

A notice may be lost: a call that waits for a result also looks for it now and then.
"""

import asyncio

import redis.asyncio

from shared.agents import claims
from shared.agents.claims import RequestStatus
from shared.pubsub.loop_listener import LoopListener
from shared.pubsub.policy import LogEvents
from shared.redis import keyspace

LOG_EVENTS = LogEvents(redis_away="agent_notices.redis_away", broken="agent_notices.broken")


class Notices:
    """The notices of one request. Lives on the event loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self.statuses: set[RequestStatus] = set()
        self._received = asyncio.Event()

    def receive(self, status: RequestStatus) -> None:
        """Keep a notice, and wake the call that waits for it."""
        self.statuses.add(status)
        self._received.set()

    async def wait(self, seconds: float) -> None:
        """Wait for the next notice, but not longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._received.wait()
        except TimeoutError:
            return
        self._received.clear()


class NoticeListener:
    """The notices of all requests of one worker process."""

    def __init__(self, worker_id: str) -> None:
        """Keep nothing yet; `listen` receives."""
        self._channel = keyspace.agent_notice_channel(worker_id)
        self._notices: dict[str, Notices] = {}

    def expect(self, request_id: str) -> Notices:
        """Keep the notices of a request from now on, until `forget`."""
        self._notices[request_id] = Notices()
        return self._notices[request_id]

    def forget(self, request_id: str) -> None:
        """Drop the notices of a request."""
        del self._notices[request_id]

    async def listen(self, client: "redis.asyncio.Redis") -> None:
        """Receive notices for ever, with a client that has no time-out for answers of its own."""
        await LoopListener(client, LOG_EVENTS, self._channel, self._receive).run()

    def _receive(self, message: bytes) -> None:
        status, request_id = claims.read_status(message)
        if notices := self._notices.get(request_id):
            notices.receive(status)
