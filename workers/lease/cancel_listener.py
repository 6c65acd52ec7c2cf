"""Listen for cancels: one subscription per process. A message that is lost is made up for by the next renewal."""

import redis.asyncio

from shared.pubsub.loop_listener import LoopListener
from shared.pubsub.policy import LogEvents
from shared.redis import keyspace
from workers.lease.leases import Leases

LOG_EVENTS = LogEvents(redis_away="cancel.redis_away", broken="cancel.broken")


async def listen(client: "redis.asyncio.Redis", leases: Leases) -> None:
    """Stop every job that is cancelled, for ever; the client has no time-out for answers of its own."""

    def cancel(job_id: bytes) -> None:
        leases.cancel(job_id.decode())

    await LoopListener(client, LOG_EVENTS, keyspace.CANCEL_CHANNEL, cancel).run()
