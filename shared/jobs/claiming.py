"""The claim: which job is next, and the one UPDATE that takes it, raises its attempt and begins its lease.

A claim takes a job that is queued, or one whose lease has lapsed; either way the raised attempt makes void what an earlier owner
may still have on its way.
"""

from functools import cache

from sqlalchemy import BigInteger, ColumnElement, Select, String, and_, bindparam, case, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningUpdate

from shared import events
from shared.database import now_ms
from shared.models import UNFINISHED, Job, Status

UNLIMITED = 2**31 - 1

_QUIET = {"synchronize_session": False}


def lapsed() -> ColumnElement[bool]:
    """Return the condition of an orphan: a worker claimed it, and its lease has lapsed."""
    return and_(Job.status == Status.IN_PROGRESS, Job.lease_until_ms < now_ms())


def claimable(max_lost_workers: int, *, orphans: bool = True) -> ColumnElement[bool]:
    """Return the condition of a job that may be claimed: it is due, not cancelled, and the first of its conversation.

    Args:
        max_lost_workers: how many workers a job may lose.
        orphans: whether jobs whose lease has lapsed are among them; only a steady worker may take over.
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
    """Claim the job that is next: of the user with the fewest running jobs, the oldest.

    Args:
        session: an open transaction.
        owner: the worker process that claims.
        lease_ms: how long its lease is before it must renew.
        epoch: which Redis the log is in, as far as the worker knows; kept for the first attempt only.
        max_lost_workers: how many workers a job may lose.
        max_running: how many jobs of one user may run; claims of the same moment may together pass it on PostgreSQL.
        orphans: whether to take over jobs whose lease has lapsed.

    Returns:
        the job as it now is, its `log_epoch` still the last owner's; None when there is nothing to do.
    """
    statement = _claiming(max_lost_workers, max_running, orphans)
    values = {"new_owner": owner, "lease_ms": lease_ms, "known_epoch": epoch}
    return session.scalars(statement, values, execution_options=_QUIET).first()


@cache
def _claiming(max_lost_workers: int, max_running: int, orphans: bool) -> ReturningUpdate[Job]:
    """Return the claim's statement, built once: that takes longer than the database needs for it."""
    orphan = Job.status == Status.IN_PROGRESS
    return (
        update(Job)
        .where(Job.id == _next_job(max_lost_workers, max_running, orphans).scalar_subquery())
        .values(
            status=Status.IN_PROGRESS,
            attempt=Job.attempt + 1,
            owner=bindparam("new_owner"),
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
    """Return a query for a job that may have been refused a claim because this one ran.

    It is the next in the conversation, or one over its user's limit: either way one of the same user. Whether the user was at the
    limit is not known any more, so that any queued job of theirs is taken: a ring too many costs one look.
    """
    return select(Job.id).where(Job.user_id == job.user_id, Job.status == Status.QUEUED).order_by(Job.created_ms, Job.id).limit(1)
