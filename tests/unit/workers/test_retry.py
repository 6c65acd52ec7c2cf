"""When a provider is called again, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.error_codes import JobErrorCode
from workers.providers.base import ProviderError
from workers.run import retry

ENDLESS = 10**9


def error(*, retryable: bool = True, retry_after: float | None = None) -> ProviderError:
    return ProviderError("no", code="no", retryable=retryable, retry_after_seconds=retry_after)


def wait(failure: ProviderError, before: int = 0, *, max_tries: int = 4, seconds_left: float = ENDLESS) -> float | None:
    return retry.wait_seconds(failure, before, max_tries=max_tries, down_seconds=60, seconds_left=seconds_left)


def test_what_cannot_pass_is_not_tried_again() -> None:
    assert wait(error(retryable=False)) is None


@pytest.mark.parametrize(("before", "again"), [(0, True), (2, True), (3, False), (4, False)])
def test_the_tries_are_counted(before: int, again: bool) -> None:
    assert (wait(error(), before) is not None) is again


def test_a_single_try_is_never_repeated() -> None:
    assert wait(error(), max_tries=1) is None


def test_an_empty_answer_is_tried_once_more() -> None:
    empty = ProviderError("no", code=JobErrorCode.PROVIDER_EMPTY, retryable=True)
    assert wait(empty) is not None
    assert wait(empty, 1) is None
    assert wait(empty, max_tries=1) is None


def test_a_provider_that_is_away_is_tried_for_about_so_long() -> None:
    away = ProviderError("no", code="no", retryable=True, is_down=True)
    waits = [wait(away, before, max_tries=1) for before in range(100)]
    tries = waits.index(None)

    assert 60 / 1.5 <= sum(filter(None, waits[:tries])) <= 60 * 1.5
    assert not any(waits[tries:])


@given(st.integers(0, 50))
def test_the_wait_grows_to_a_bound_and_is_jittered(before: int) -> None:
    backoff = min(0.5 * 2**before, 8.0)
    waited = wait(error(), before, max_tries=100)

    assert waited is not None
    assert backoff / 2 <= waited <= backoff


def test_two_jobs_do_not_wait_equally_long() -> None:
    assert len({wait(error(), 3, max_tries=9) for _ in range(20)}) > 1


@given(st.floats(0, 1000))
def test_the_provider_is_never_called_sooner_than_it_asked_for(retry_after: float) -> None:
    waited = wait(error(retry_after=retry_after))

    assert waited is not None
    assert waited >= retry_after


def test_a_moment_in_the_past_is_no_wait() -> None:
    waited = wait(error(retry_after=-30.0))

    assert waited is not None
    assert 0.25 <= waited <= 0.5


@pytest.mark.parametrize(("retry_after", "left", "again"), [(10.0, 11.0, True), (10.0, 10.0, False), (10.0, 3.0, False)])
def test_a_wait_beyond_the_deadline_is_the_end(retry_after: float, left: float, again: bool) -> None:
    assert (wait(error(retry_after=retry_after), seconds_left=left) is not None) is again


def test_with_four_tries_a_provider_that_only_fails_is_given_up_within_thirty_seconds() -> None:
    waits = [wait(error(), before) for before in range(4)]

    assert waits[3] is None
    assert sum(waited or 0 for waited in waits) < 30
