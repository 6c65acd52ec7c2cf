"""The policy for retries: whether a provider is called again, and how long to wait before.

A provider that is not there is tried for longer, since that costs nothing: it may be starting. One that answered with nothing is
asked once more.
"""

import random

from shared.models.error_codes import JobErrorCode
from workers.providers.base import ProviderError

FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 8.0
MEAN_JITTER = 0.75
MAX_DOUBLINGS = 10
EMPTY_TRIES = 2
WAIT_IN_PLACE_SECONDS = 5.0
"""A longer wait goes back to the queue and frees its thread."""


def wait_seconds(
    error: ProviderError, errors_before: int, *, max_tries: int, down_seconds: float, seconds_left: float
) -> float | None:
    """Return how long to wait before the next try, in seconds; None: this was the last.

    Args:
        error: the provider's.
        errors_before: how many errors there were before this one.
        max_tries: provider calls that a job may cost.
        down_seconds: how long, about, a provider that is not there is tried.
        seconds_left: how long until the job's deadline.
    """
    tries = min(max_tries, EMPTY_TRIES) if error.reason == JobErrorCode.PROVIDER_EMPTY else max_tries
    is_given_time = error.is_down and _waited_seconds(errors_before) < down_seconds
    if not error.retryable or (errors_before + 1 >= tries and not is_given_time):
        return None
    backoff = _backoff_seconds(errors_before)
    jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
    wait = max(jittered, error.retry_after_seconds or 0.0)
    return wait if wait < seconds_left else None


def _backoff_seconds(errors_before: int) -> float:
    return MAX_WAIT_SECONDS if errors_before > MAX_DOUBLINGS else min(FIRST_WAIT_SECONDS * 2.0**errors_before, MAX_WAIT_SECONDS)


def _waited_seconds(errors: int) -> float:
    """Return how long, about, the waits behind so many errors were."""
    return MEAN_JITTER * sum(map(_backoff_seconds, range(errors)))
