"""A job's life in any order of events, on SQLite: who may write, what never changes, and what never happens at once.

The machine knows, of each job, what a holder may believe; every answer of the database must agree with it.
"""

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import func, select
from sqlalchemy.orm import undefer
from structlog.testing import capture_logs

from dev.testing.stack import Redis
from shared import events
from shared.database import now_ms
from shared.jobs import ending, lifecycle
from shared.jobs.ending import Ending
from shared.jobs.lifecycle import LeaseState
from shared.models import UNFINISHED, Job, Status
from shared.models.error_codes import JobErrorCode
from tests.integration.entries import EXPIRY_MS
from tests.integration.jobs import LEASE_MS, MAX_LOST_WORKERS, MINUTE_MS, Jobs

EXAMPLES = 12
STEPS = 30
ERROR = {"code": "busy", "message": "Busy"}
ENDINGS = st.sampled_from(
    [Ending(Status.COMPLETED, "stop"), Ending(Status.INCOMPLETE, "length"), ending.failed(JobErrorCode.DRAINED, "y")]
)


@dataclass(frozen=True)
class Belief:
    """What somebody holds, or once held."""

    job_id: str
    attempt: int
    errors: int


@dataclass
class Known:
    """A job as it must be."""

    position: int
    conversation: str | None
    status: Status = Status.QUEUED
    attempt: int = 0
    errors: int = 0
    lost_workers: int = 0
    lapsed: bool = False
    waits: bool = False
    cancelled: bool = False

    def is_held_by(self, belief: Belief) -> bool:
        return self.status is Status.IN_PROGRESS and self.attempt == belief.attempt

    def has_retried(self, belief: Belief) -> bool:
        """Whether a retry that this belief asks for was made already."""
        return self.is_held_by(Belief(belief.job_id, belief.attempt + 1, 0)) and self.errors == belief.errors + 1


class JobMachine(RuleBasedStateMachine):
    """A few users' jobs, their workers, sweeps and cancels."""

    jobs: Jobs
    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        user = self.jobs.user()
        self.conversations = [None, self.jobs.conversation(user), self.jobs.conversation(user)]
        self.known: dict[str, Known] = {}
        self.beliefs: list[Belief] = []
        self.seen: list[Job] = []
        self.final: dict[str, tuple[Any, ...]] = {}

    def first_of_its_conversation(self, job: Known) -> bool:
        others = (other for other in self.known.values() if other.conversation and other.conversation == job.conversation)
        return all(other.status.is_terminal for other in others if other.position < job.position)

    def may_be_claimed(self, job: Known) -> bool:
        queued = job.status is Status.QUEUED and not job.waits
        orphaned = job.status is Status.IN_PROGRESS and job.lapsed and job.lost_workers < MAX_LOST_WORKERS
        return (queued or orphaned) and not job.cancelled and self.first_of_its_conversation(job)

    def draw(self, data: st.DataObject, some: list[Any]) -> Any:
        return data.draw(st.sampled_from(some))

    # What users do

    @rule(data=st.data())
    def submitted(self, data: st.DataObject) -> None:
        conversation = self.draw(data, self.conversations)
        job_id = self.jobs.queue(conversation=conversation)
        self.known[job_id] = Known(len(self.known), conversation)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancelled(self, data: st.DataObject) -> None:
        job_id = self.draw(data, list(self.known))
        job = self.known[job_id]
        with self.jobs.database.write() as session:
            assert lifecycle.request_cancel(session, job_id) is (not job.status.is_terminal)
        job.cancelled = job.cancelled or not job.status.is_terminal

    # What time does

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def lapses(self, data: st.DataObject) -> None:
        job_id = self.draw(data, list(self.known))
        if self.known[job_id].status is Status.IN_PROGRESS:
            self.jobs.lapse(job_id)
            self.known[job_id].lapsed = True

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def has_waited(self, data: st.DataObject) -> None:
        job_id = self.draw(data, list(self.known))
        self.jobs.set(job_id, not_before_ms=None)
        self.known[job_id].waits = False

    # What workers do

    @rule()
    def claims(self) -> None:
        claimable = [job_id for job_id, job in self.known.items() if self.may_be_claimed(job)]
        claimed = self.jobs.claim()
        if claimed is None:
            assert claimable == []
            return
        assert claimed.id in claimable
        job = self.known[claimed.id]
        job.lost_workers += job.status is Status.IN_PROGRESS
        job.status, job.lapsed, job.waits = Status.IN_PROGRESS, False, False
        job.attempt += 1
        assert (claimed.attempt, claimed.lost_workers) == (job.attempt, job.lost_workers)
        self.beliefs.append(Belief(claimed.id, claimed.attempt, job.errors))

    @precondition(lambda self: self.beliefs)
    @rule(data=st.data(), seq=st.integers(0, 50))
    def renews(self, data: st.DataObject, seq: int) -> None:
        """One worker asks for all that it believes it holds, stale or not."""
        some = data.draw(st.lists(st.sampled_from(self.beliefs), unique=True, min_size=1))
        with self.jobs.database.write() as session:
            held = [LeaseState(belief.job_id, belief.attempt, seq) for belief in some]
            kept = lifecycle.renew(session, held, lease_ms=LEASE_MS, epoch="e")
        answered = {job_id: renewal.is_cancelled for job_id, renewal in kept.items()}
        assert answered == {b.job_id: self.known[b.job_id].cancelled for b in some if self.known[b.job_id].is_held_by(b)}
        for job_id in kept:
            self.known[job_id].lapsed = False

    @precondition(lambda self: self.beliefs)
    @rule(data=st.data())
    def tries_again(self, data: st.DataObject) -> None:
        belief = self.draw(data, self.beliefs)
        job = self.known[belief.job_id]
        with self.jobs.database.write() as session:
            is_ours = lifecycle.retry(session, belief.job_id, belief.attempt, belief.errors, ERROR)
        assert is_ours is (job.is_held_by(belief) or job.has_retried(belief))
        if job.is_held_by(belief):
            job.attempt += 1
            job.errors += 1
            self.beliefs.append(Belief(belief.job_id, job.attempt, job.errors))

    @precondition(lambda self: self.beliefs)
    @rule(data=st.data(), waits=st.booleans())
    def gives_back(self, data: st.DataObject, waits: bool) -> None:
        belief = self.draw(data, self.beliefs)
        job = self.known[belief.job_id]
        held = LeaseState(belief.job_id, belief.attempt, 0)
        with self.jobs.database.write() as session:
            given = lifecycle.give_back(session, held, reason=events.DRAINED, epoch=None, wait_ms=MINUTE_MS * waits)
        assert given is job.is_held_by(belief)
        if given:
            job.status, job.waits, job.lapsed = Status.QUEUED, waits, False
            job.attempt += 1

    @precondition(lambda self: self.beliefs)
    @rule(data=st.data(), how=ENDINGS)
    def ends(self, data: st.DataObject, how: Ending) -> None:
        belief = self.draw(data, self.beliefs)
        job = self.known[belief.job_id]
        with self.jobs.database.write() as session:
            terminal = ending.end_held(session, belief.job_id, belief.attempt, [], how, [])
        assert (terminal is not None) is job.is_held_by(belief)
        if terminal is not None:
            job.status = Status.CANCELLED if job.cancelled else how.status
            assert terminal.type == job.status.value

    # What sweeps and cancels do

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def is_seen(self, data: st.DataObject) -> None:
        self.seen.append(self.jobs.row(self.draw(data, list(self.known))))

    @precondition(lambda self: self.seen)
    @rule(data=st.data(), how=ENDINGS)
    def is_ended_as_it_was_seen(self, data: st.DataObject, how: Ending) -> None:
        seen = self.draw(data, self.seen)
        job, row = self.known[seen.id], self.jobs.row(seen.id)
        nobody = job.status is Status.QUEUED or (job.status is Status.IN_PROGRESS and job.lapsed)
        unchanged = (seen.attempt, seen.lease_until_ms) == (row.attempt, row.lease_until_ms)
        assert ending.end_unheld(self.jobs.database, self.client, seen, how, EXPIRY_MS) is (nobody and unchanged)
        if nobody and unchanged:
            job.status = how.status
            job.attempt += 1

    # What holds

    @invariant()
    def the_rows_are_as_they_must_be(self) -> None:
        whole = select(Job).where(Job.id.in_(self.known)).options(undefer(Job.archive))
        with self.jobs.database.read() as session:
            rows = session.scalars(whole).all()
        assert {row.id: (row.status, row.attempt) for row in rows} == {
            job_id: (job.status, job.attempt) for job_id, job in self.known.items()
        }
        for row in rows:
            if row.status.is_terminal:
                end = (row.archive, row.last_seq, row.finished_ms, row.message, row.error, row.usage)
                assert self.final.setdefault(row.id, end) == end, "what is over has changed"

    @invariant()
    def one_job_of_a_conversation_runs_at_a_time(self) -> None:
        running = select(func.count()).where(Job.status == Status.IN_PROGRESS, Job.conversation_id.is_not(None))
        with self.jobs.database.read() as session:
            assert all(count == 1 for count in session.scalars(running.group_by(Job.conversation_id)))

    def teardown(self) -> None:
        """Whatever happened, every job can still be ended, and only once."""
        for job_id, job in self.known.items():
            if not job.status.is_terminal:
                self.jobs.set(job_id, lease_until_ms=now_ms() - 1 if job.status is Status.IN_PROGRESS else None)
                seen = self.jobs.row(job_id)
                assert [
                    ending.end_unheld(self.jobs.database, self.client, seen, ending.CANCELLED, EXPIRY_MS) for _ in range(2)
                ] == [
                    True,
                    False,
                ]
        with self.jobs.database.read() as session:
            assert session.scalar(select(func.count()).where(Job.status.in_(UNFINISHED), Job.id.in_(self.known))) == 0


@pytest.mark.timeout(400)  # a failure is made smaller for up to five minutes
def test_a_job_has_one_life(sqlite_jobs: Jobs, empty_redis: Redis) -> None:
    class OnThisDatabase(JobMachine):
        jobs = sqlite_jobs
        client = empty_redis.client

    bounds = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck))
    with capture_logs():
        run_state_machine_as_test(OnThisDatabase, settings=bounds)
