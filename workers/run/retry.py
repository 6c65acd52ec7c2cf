"""The policy for retries: whether a provider is called again, and how long to wait before."""

import random

from workers.providers.base import ProviderError

FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 8.0
WAIT_IN_PLACE_SECONDS = 5.0
"""A longer wait goes back to the queue and frees its thread."""


def wait_seconds(error: ProviderError, errors_before: int, *, max_tries: int, seconds_left: float) -> float | None:
    """Return how long to wait before the next try, in seconds; None: this was the last.

    Args:
        error: the provider's.
        errors_before: how many errors there were before this one.
        max_tries: provider calls that a job may cost.
        seconds_left: how long until the job's deadline.
    """
    if not error.retryable or errors_before + 1 >= max_tries:
        return None
    backoff = min(FIRST_WAIT_SECONDS * 2**errors_before, MAX_WAIT_SECONDS)
    jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
    wait = max(jittered, error.retry_after_seconds or 0.0)
    return wait if wait < seconds_left else None
