"""When a delivery that failed is tried again: for three days, as Standard Webhooks advises (standardwebhooks.com, 1.0)."""

import random
from http import HTTPStatus

from workers.webhooks.post import DeliveryResult

RETRY_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long after each failed try comes the next one; after the last one it is given up: some three days."""
JITTER = 0.1
ASKS_FOR_TIME = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses with which a receiver's Retry-After counts."""


def wait_seconds(tries: int, result: DeliveryResult) -> float | None:
    """Return how long to wait after so many failed tries; None: it is given up."""
    if tries > len(RETRY_SECONDS) or result.status == HTTPStatus.GONE:
        return None
    seconds = RETRY_SECONDS[tries - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 - jitter, no secret
    return max(seconds, result.retry_after_seconds if result.status in ASKS_FOR_TIME else 0)
