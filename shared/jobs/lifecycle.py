"""What becomes of a claimed job: renewed, retried, given back, cancelled, ended. Each is one conditional UPDATE, or a locked row.

    (submit) → queued ⇄ in_progress → completed | failed | cancelled | incomplete
                  └─────── (no worker holds it) ────┘

Only this file and `claiming.py` change a status. A worker names the attempt that it believes in, and zero rows mean that the job is
not its own any more. A job that no worker holds is ended with its attempt raised, so that whatever its last owner may still have on
its way is void.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Update, and_, bindparam, case, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from shared.database import now_ms
from shared.jobs.claiming import lapsed
from shared.json_types import JsonObject
from shared.models import UNFINISHED, Job, Status

ENDED_COLUMNS = ("finish_reason", "error", "usage", "message", "last_seq", "log_seq", "archive", "first_token_ms")
"""What the end of a job writes, besides its status, its moment and the lease."""

_QUIET = {"synchronize_session": False}


class LeaseState(NamedTuple):
    """What a worker reports of a lease: which attempt of which job, how far its log is known to be written, whether it is open."""

    job_id: str
    attempt: int
    log_seq: int
    is_open: bool = True


class Renewal(NamedTuple):
    """What became of a lease: whether it is longer now (else its row was locked), and whether a cancel was requested."""

    is_renewed: bool
    is_cancelled: bool


def _held_by(job_id: Any, attempt: Any) -> ColumnElement[bool]:
    return and_(Job.id == job_id, Job.attempt == attempt, Job.status == Status.IN_PROGRESS)


def renew(session: Session, leases: Sequence[LeaseState], *, lease_ms: int, epoch: str | None) -> dict[str, Renewal]:
    """Renew leases; this may revive one that lapsed while nobody claimed its job.

    A row that somebody else has locked at this moment is not waited for: one slow transaction would cost all others their leases.

    Args:
        session: an open transaction.
        leases: what the worker holds.
        lease_ms: how long they are from now, by the database's clock.
        epoch: which Redis the open logs were found whole in; None when that is not known.

    Returns:
        by job, what became of each lease that the worker still has. One that is missing is lost.
    """
    if not leases:
        session.execute(select(now_ms()))  # still proves that the database is there
        return {}
    ours = and_(
        tuple_(Job.id, Job.attempt).in_([(lease.job_id, lease.attempt) for lease in leases]), Job.status == Status.IN_PROGRESS
    )
    values: dict[str, Any] = {
        "lease_until_ms": now_ms() + lease_ms,
        "log_seq": case({lease.job_id: lease.log_seq for lease in leases}, value=Job.id, else_=Job.log_seq),
    }
    if epoch is not None:
        opened = [lease.job_id for lease in leases if lease.is_open]
        values["log_epoch"] = case((Job.id.in_(opened), epoch), else_=Job.log_epoch)
    free = select(Job.id).where(ours).with_for_update(skip_locked=True)
    statement = update(Job).where(Job.id.in_(free)).values(values).returning(Job.id)
    renewed = set(session.scalars(statement, execution_options=_QUIET))
    still_ours = session.execute(select(Job.id, Job.cancel_requested_ms).where(ours))
    return {job_id: Renewal(job_id in renewed, cancel_ms is not None) for job_id, cancel_ms in still_ours}


def retry(session: Session, job_id: str, attempt: int, errors: int, error: JsonObject) -> bool:
    """Begin the next attempt in place, after an error of the provider.

    It may be called again where the answer to a commit was lost: nobody else raises the attempt, counts an error and goes on.

    Args:
        session: an open transaction.
        job_id: the job.
        attempt: the caller's attempt.
        errors: how many errors were counted before this one.
        error: the provider's, as the job's error has it.

    Returns:
        whether the job is still the caller's.
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
    session: Session, lease: LeaseState, *, reason: str, epoch: str | None, wait_ms: int = 0, error: JsonObject | None = None
) -> bool:
    """Put a job back into the queue.

    Args:
        session: an open transaction.
        lease: what is given back, and how far its log is written.
        reason: why the answer will begin anew, as `restarted` says it.
        epoch: which Redis the log was found whole in; None when that is not known.
        wait_ms: how long nobody may claim it.
        error: the provider's, when that is why; it counts against the job's tries.

    Returns:
        whether the job was still the caller's.
    """
    values: dict[str, Any] = {
        "status": Status.QUEUED,
        "attempt": Job.attempt + 1,
        "owner": None,
        "lease_until_ms": None,
        "log_seq": lease.log_seq,
        "log_epoch": func.coalesce(epoch, Job.log_epoch),
        "requeued_for": reason,
        "not_before_ms": now_ms() + wait_ms if wait_ms else None,
        "rung_ms": None,
    }
    if error is not None:
        values |= {"error": error, "provider_errors": Job.provider_errors + 1}
    statement = update(Job).where(_held_by(lease.job_id, lease.attempt)).values(values).returning(Job.id)
    return session.scalar(statement, execution_options=_QUIET) is not None


def request_cancel(session: Session, job_id: str) -> bool:
    """Request that an unfinished job is cancelled; return whether it was unfinished."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.status.in_(UNFINISHED))
        .values(cancel_requested_ms=func.coalesce(Job.cancel_requested_ms, now_ms()))
        .returning(Job.id)
    )
    return session.scalar(statement, execution_options=_QUIET) is not None


def lock_held(session: Session, job_id: str, attempt: int) -> Job | None:
    """Lock a job that its owner is about to end, so that no cancel comes in between; None when it is not the caller's any more."""
    return session.scalar(select(Job).where(_held_by(job_id, attempt)).with_for_update())


def lock_unheld(session: Session, job: Job) -> Job | None:
    """Lock a job that no worker holds; None unless it is still as it was read: the same attempt, and no lease revived since."""
    unchanged = and_(Job.id == job.id, Job.attempt == job.attempt, Job.lease_until_ms.is_not_distinct_from(job.lease_until_ms))
    return session.scalar(
        select(Job)
        .where(unchanged, or_(Job.status == Status.QUEUED, lapsed()))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


@cache
def end_uncancelled() -> Update:
    """Return the statement that ends a job of the caller's attempt for good, unless a cancel of it was requested.

    Its parameters are `ended_job`, `ended_attempt`, `ended_status`, and `new_<column>` for each of ENDED_COLUMNS; a
    `new_first_token_ms` of None leaves that column as it is.
    """
    is_ours = and_(_held_by(bindparam("ended_job"), bindparam("ended_attempt")), Job.cancel_requested_ms.is_(None))
    values: dict[str, Any] = {
        name: bindparam(f"new_{name}", type_=Job.__table__.c[name].type) for name in ENDED_COLUMNS if name != "first_token_ms"
    }
    values["first_token_ms"] = func.coalesce(bindparam("new_first_token_ms", type_=BigInteger), Job.first_token_ms)
    over = {"finished_ms": now_ms(), "owner": None, "lease_until_ms": None}
    return update(Job).where(is_ours).values(status=bindparam("ended_status", type_=Job.status.type), **values, **over)


def end(job: Job, status: Status, values: dict[str, Any]) -> None:
    """End a locked job for good; `values` are the columns that say how."""
    assert not job.status.is_terminal
    job.status = status
    job.finished_ms = now_ms()
    job.owner = None
    job.lease_until_ms = None
    for name, value in values.items():
        setattr(job, name, value)
