"""Celery's consumer with short waits: after a long absence of Redis it is back within a second, not half a minute."""

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

FIRST_WAIT_SECONDS = 0.2
LONGER_SECONDS = 0.2
MAX_WAIT_SECONDS = 1.0


class Consumer(CeleryConsumer):  # type: ignore[misc]  # celery has no types
    """A consumer that tries to connect every second at the most; Celery's own waits grow to 30 s and are no setting."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, with our waits."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=FIRST_WAIT_SECONDS,
            interval_step=LONGER_SECONDS,
            interval_max=MAX_WAIT_SECONDS,
        )
        return super().ensure_connected(conn)
