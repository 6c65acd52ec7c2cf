"""Every change of a job's state, each one conditional UPDATE. No other file assigns a status.

    (submit) → queued ⇄ in_progress → completed | failed | cancelled | incomplete
                  └──────── (nobody holds it) ────────┘

Who holds a job names the attempt it believes in, and zero rows means: not yours any more. Whoever takes a job from nobody raises
the attempt, so that all that the last holder may still have in flight is void.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, String, and_, bindparam, case, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningUpdate

from shared import events
from shared.database import now_ms
from shared.models import UNFINISHED, Job, Status

UNLIMITED = 2**31 - 1

_QUIET = {"synchronize_session": False}


class LeaseState(NamedTuple):
    """What a holder says when it renews: which attempt of which job, how far its log was surely written, whether it has opened."""

    job_id: str
    attempt: int
    log_seq: int
    is_open: bool = True


class Renewal(NamedTuple):
    """What became of a held job: whether its lease is longer now (else its row was locked), whether its cancel was asked for."""

    is_renewed: bool
    is_cancelled: bool


def lapsed() -> ColumnElement[bool]:
    """Held once, and its holder has not been heard of for a lease."""
    return and_(Job.status == Status.IN_PROGRESS, Job.lease_until_ms < now_ms())


def claimable(max_lost_workers: int, *, orphans: bool = True) -> ColumnElement[bool]:
    """Waiting for a worker: its time has come, nobody wants it ended, and it is the first of its conversation.

    `orphans`: also what another worker held; only who is sure of his own leases may say that another's has lapsed.
    """
    earlier = aliased(Job)
    first = ~exists().where(
        earlier.conversation_id == Job.conversation_id, earlier.position < Job.position, earlier.status.in_(UNFINISHED)
    )
    queued = and_(Job.status == Status.QUEUED, or_(Job.not_before_ms.is_(None), Job.not_before_ms <= now_ms()))
    orphaned = and_(lapsed(), Job.lost_workers < max_lost_workers)
    return and_(or_(queued, orphaned) if orphans else queued, Job.cancel_requested_ms.is_(None), Job.deadline_ms > now_ms(), first)


def claim(
    session: Session,
    owner: str,
    *,
    lease_ms: int,
    epoch: str,
    max_lost_workers: int,
    max_running: int = UNLIMITED,
    orphans: bool = True,
) -> Job | None:
    """Take the job that is next: of the user with the fewest running jobs, the oldest.

    Args:
        session: an open transaction.
        owner: the worker process that will hold it.
        lease_ms: how long it holds it before it must renew.
        epoch: which Redis the log is in, as far as the worker knows; kept for the first attempt only.
        max_lost_workers: how many workers a job may lose.
        max_running: how many jobs of one user may run; claims of the same moment may together pass it on PostgreSQL.
        orphans: whether to take what another worker held.

    Returns:
        the job as it now is, its `log_epoch` still the last holder's; None when there is nothing to do.
    """
    statement = _claiming(max_lost_workers, max_running, orphans)
    told = {"holder": owner, "lease_ms": lease_ms, "known_epoch": epoch}
    return session.scalars(statement, told, execution_options=_QUIET).first()


@cache
def _claiming(max_lost_workers: int, max_running: int, orphans: bool) -> ReturningUpdate[Job]:
    """Build the claim once: putting it together takes longer than the database needs for it."""
    orphan = Job.status == Status.IN_PROGRESS
    return (
        update(Job)
        .where(Job.id == _next_job(max_lost_workers, max_running, orphans).scalar_subquery())
        .values(
            status=Status.IN_PROGRESS,
            attempt=Job.attempt + 1,
            owner=bindparam("holder"),
            lease_until_ms=now_ms() + bindparam("lease_ms", type_=BigInteger),
            lost_workers=Job.lost_workers + case((orphan, 1), else_=0),
            requeued_for=case((orphan, events.WORKER_LOST), else_=Job.requeued_for),
            not_before_ms=None,
            started_ms=func.coalesce(Job.started_ms, now_ms()),
            log_epoch=func.coalesce(Job.log_epoch, bindparam("known_epoch", type_=String)),
        )
        .returning(Job)
    )


def _next_job(max_lost_workers: int, max_running: int, orphans: bool) -> Select[str]:
    running = (
        select(Job.user_id, func.count().label("jobs")).where(Job.status == Status.IN_PROGRESS).group_by(Job.user_id).subquery()
    )
    running_jobs = func.coalesce(running.c.jobs, 0)
    return (
        select(Job.id)
        .outerjoin(running, running.c.user_id == Job.user_id)
        # A job that is being taken over counts among the running ones already.
        .where(claimable(max_lost_workers, orphans=orphans), or_(running_jobs < max_running, Job.status == Status.IN_PROGRESS))
        .order_by(running_jobs, Job.created_ms, Job.id)
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
    )


def waiting_for(job: Job) -> Select[str]:
    """Ask for a job that may have been refused a claim because this one ran: next in its conversation, or over its user's limit.

    Both are jobs of the same user. Whether he was at his limit cannot be told any more, so that any of his will do: a ring too many
    costs one look.
    """
    return select(Job.id).where(Job.user_id == job.user_id, Job.status == Status.QUEUED).order_by(Job.created_ms, Job.id).limit(1)


def _held_by(job_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(Job.id == job_id, Job.attempt == attempt, Job.status == Status.IN_PROGRESS)


def renew(session: Session, held: Sequence[LeaseState], *, lease_ms: int, epoch: str | None) -> dict[str, Renewal]:
    """Go on holding jobs; this may revive a lease that lapsed while nobody claimed.

    A row that somebody else has locked at this moment is not waited for: one slow transaction would cost all others their leases.

    Args:
        session: an open transaction.
        held: what the worker holds.
        lease_ms: the new lease, from now by the database's clock.
        epoch: which Redis the open logs were found whole in; None when that is not known.

    Returns:
        what became of each job that is still held. A job that is missing is lost.
    """
    if not held:
        session.execute(select(now_ms()))  # still proves that the database is there
        return {}
    ours = and_(tuple_(Job.id, Job.attempt).in_([(hold.job_id, hold.attempt) for hold in held]), Job.status == Status.IN_PROGRESS)
    values: dict[str, Any] = {
        "lease_until_ms": now_ms() + lease_ms,
        "log_seq": case({hold.job_id: hold.log_seq for hold in held}, value=Job.id, else_=Job.log_seq),
    }
    if epoch is not None:
        opened = [hold.job_id for hold in held if hold.is_open]
        values["log_epoch"] = case((Job.id.in_(opened), epoch), else_=Job.log_epoch)
    free = select(Job.id).where(ours).with_for_update(skip_locked=True)
    statement = update(Job).where(Job.id.in_(free)).values(values).returning(Job.id)
    renewed = set(session.scalars(statement, execution_options=_QUIET))
    known = session.execute(select(Job.id, Job.cancel_requested_ms).where(ours))
    return {job_id: Renewal(job_id in renewed, wanted is not None) for job_id, wanted in known}


def retry(session: Session, job_id: str, attempt: int, errors: int, error: dict[str, Any]) -> bool:
    """Begin the next attempt in place, after an error of the provider. Tells whether the job is still held.

    It may be asked again where the answer to a commit was lost: nobody else raises the attempt, counts an error and goes on.

    Args:
        session: an open transaction.
        job_id: the job.
        attempt: the attempt that the caller holds.
        errors: how many errors were counted before this one.
        error: what the provider said.
    """
    statement = (
        update(Job)
        .where(_held_by(job_id, attempt))
        .values(attempt=Job.attempt + 1, provider_errors=errors + 1, error=error)
        .returning(Job.id)
    )
    done = select(Job.id).where(_held_by(job_id, attempt + 1), Job.provider_errors == errors + 1)
    return (session.scalar(statement, execution_options=_QUIET) or session.scalar(done)) is not None


def give_back(
    session: Session, held: LeaseState, *, reason: str, epoch: str | None, wait_ms: int = 0, error: dict[str, Any] | None = None
) -> bool:
    """Put a held job back into the queue.

    Args:
        session: an open transaction.
        held: what is given back, and how far its log is written.
        reason: why the answer will begin anew, as `restarted` tells it.
        epoch: which Redis the log was found whole in; None when that is not known.
        wait_ms: nobody claims it before that long.
        error: the provider's, when that is why; it counts against the job's tries.

    Returns:
        whether the job was still held.
    """
    values: dict[str, Any] = {
        "status": Status.QUEUED,
        "attempt": Job.attempt + 1,
        "owner": None,
        "lease_until_ms": None,
        "log_seq": held.log_seq,
        "log_epoch": func.coalesce(epoch, Job.log_epoch),
        "requeued_for": reason,
        "not_before_ms": now_ms() + wait_ms if wait_ms else None,
        "rung_ms": None,
    }
    if error is not None:
        values |= {"error": error, "provider_errors": Job.provider_errors + 1}
    statement = update(Job).where(_held_by(held.job_id, held.attempt)).values(values).returning(Job.id)
    return session.scalar(statement, execution_options=_QUIET) is not None


def want_cancelled(session: Session, job_id: str) -> bool:
    """Raise the cancel flag of an unfinished job. Tells whether it was unfinished."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.status.in_(UNFINISHED))
        .values(cancel_requested_ms=func.coalesce(Job.cancel_requested_ms, now_ms()))
        .returning(Job.id)
    )
    return session.scalar(statement, execution_options=_QUIET) is not None


def lock_held(session: Session, job_id: str, attempt: int) -> Job | None:
    """Lock a job that is about to be ended by its holder, so that no cancel comes in between."""
    return session.scalar(select(Job).where(_held_by(job_id, attempt)).with_for_update())


def lock_unheld(session: Session, job: Job) -> Job | None:
    """Lock a job that nobody holds, if it is still as it was seen: the same attempt, and no lease revived since."""
    unchanged = and_(Job.id == job.id, Job.attempt == job.attempt, Job.lease_until_ms.is_not_distinct_from(job.lease_until_ms))
    return session.scalar(
        select(Job)
        .where(unchanged, or_(Job.status == Status.QUEUED, lapsed()))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def end(job: Job, status: Status, values: dict[str, Any]) -> None:
    """End a locked job for good; `values` are the columns that tell how."""
    assert not job.status.is_terminal
    job.status = status
    job.finished_ms = now_ms()
    job.owner = None
    job.lease_until_ms = None
    for name, value in values.items():
        setattr(job, name, value)
