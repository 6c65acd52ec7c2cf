"""The holds of one process: each attempt by itself, cancels and drains that are faster than a claim."""

from collections.abc import Iterator

import pytest

from shared.models import Job, Status
from workers.lease import clock
from workers.lease.lease import Lease, Leases, Stop
from workers.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.stop()


def hold(loop: Loop, attempt: int = 1) -> Lease:
    job = Job(id="job_1", user_id="user_1", status=Status.IN_PROGRESS, model="m", request={}, deadline_ms=2**60)
    job.attempt, job.lease_until_ms, job.log_seq = attempt, 8_000, 0
    return Lease(job, loop, claimed=clock.seconds(), lease_seconds=8)


def test_an_attempt_that_is_over_does_not_unregister_its_successor(loop: Loop) -> None:
    # Given a process that was paused, and has claimed what it held itself
    holds = Leases()
    sleeper, successor = hold(loop), hold(loop, attempt=2)
    holds.add(sleeper)
    holds.add(successor)

    # Then the earlier attempt is lost, and its end leaves the later one alone
    assert (sleeper.reason, successor.reason) == (Stop.LOST, None)
    holds.remove(sleeper)
    assert list(holds.all()) == [successor]
    holds.remove(successor)
    assert list(holds.all()) == []


def test_a_cancel_that_is_faster_than_the_claim_takes_effect(loop: Loop) -> None:
    holds = Leases()
    holds.cancel("job_1")
    late = hold(loop)
    holds.add(late)
    assert late.reason is Stop.CANCELLED


def test_a_drain_that_is_faster_than_the_claim_takes_effect(loop: Loop) -> None:
    holds = Leases()
    early, late = hold(loop), hold(loop, attempt=2)
    holds.add(early)
    holds.drain()
    holds.remove(early)
    holds.add(late)
    assert (early.reason, late.reason) == (Stop.DRAINED, Stop.DRAINED)


def test_losing_a_job_beats_every_other_reason(loop: Loop) -> None:
    held = hold(loop)
    held.stop(Stop.CANCELLED)
    held.stop(Stop.DRAINED)
    reasons = [held.reason]
    held.stop(Stop.LOST)
    assert [*reasons, held.reason] == [Stop.CANCELLED, Stop.LOST]
