"""The leases of one process: each attempt by itself, cancels and drains that are faster than a claim."""

from collections.abc import Iterator

import pytest

from shared.models import Job, Status
from workers import clock
from workers.lease.lease import Lease, Stop
from workers.lease.leases import Leases
from workers.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.stop()


def make_lease(loop: Loop, attempt: int = 1) -> Lease:
    job = Job(id="job_1", user_id="user_1", status=Status.IN_PROGRESS, model="m", request={}, deadline_ms=2**60)
    job.attempt, job.lease_until_ms, job.log_seq = attempt, 8_000, 0
    return Lease(job, loop, claimed_at=clock.seconds(), lease_seconds=8)


def test_an_attempt_that_is_over_does_not_unregister_its_successor(loop: Loop) -> None:
    # Given a process that was paused, and has claimed a job whose lease it had itself
    leases = Leases()
    earlier, successor = make_lease(loop), make_lease(loop, attempt=2)
    leases.add(earlier)
    leases.add(successor)

    # Then the earlier attempt is lost, and its end leaves the later one alone
    assert (earlier.stop_reason, successor.stop_reason) == (Stop.LOST, None)
    leases.remove(earlier)
    assert list(leases.all()) == [successor]
    leases.remove(successor)
    assert list(leases.all()) == []


def test_a_cancel_that_is_faster_than_the_claim_takes_effect(loop: Loop) -> None:
    leases = Leases()
    leases.cancel("job_1")
    late = make_lease(loop)
    leases.add(late)
    assert late.stop_reason is Stop.CANCELLED


def test_a_drain_that_is_faster_than_the_claim_takes_effect(loop: Loop) -> None:
    leases = Leases()
    early, late = make_lease(loop), make_lease(loop, attempt=2)
    leases.add(early)
    leases.drain()
    leases.remove(early)
    leases.add(late)
    assert (early.stop_reason, late.stop_reason) == (Stop.DRAINED, Stop.DRAINED)


def test_losing_a_job_beats_every_other_reason(loop: Loop) -> None:
    lease = make_lease(loop)
    lease.stop(Stop.CANCELLED)
    lease.stop(Stop.DRAINED)
    reasons = [lease.stop_reason]
    lease.stop(Stop.LOST)
    assert [*reasons, lease.stop_reason] == [Stop.CANCELLED, Stop.LOST]


@pytest.mark.parametrize("for_good", [False, True])
def test_a_change_that_fails_is_over(loop: Loop, for_good: bool) -> None:
    lease = make_lease(loop)

    def change() -> None:
        with lease.changing(for_good=for_good):
            assert lease.is_changing
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert not lease.is_changing


@pytest.mark.parametrize("for_good", [False, True])
def test_a_change_that_lets_the_job_go_never_ends(loop: Loop, for_good: bool) -> None:
    lease = make_lease(loop)
    with lease.changing(for_good=for_good):
        assert lease.is_changing
    assert lease.is_changing is for_good
