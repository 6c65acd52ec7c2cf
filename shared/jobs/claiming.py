"""The claim: which job is next, and the one UPDATE that takes it, raises its attempt and begins its lease.

A claim takes a job that is queued, or one whose lease has lapsed; either way the raised attempt makes void what an earlier owner
may still have on its way.
"""

import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningUpdate

from shared import events
from shared.database import now_ms
from shared.ids import new_id
from shared.models import Job, Status
from shared.models.job import IN_PROGRESS, QUEUED, is_open, is_waiting

UNLIMITED = 2**31 - 1
OLDEST_JOBS = 50
SOME_USERS = 50
"""Among the oldest jobs of all, and the oldest job of each of so many users, the next one is chosen."""

_QUIET = {"synchronize_session": False}


def lapsed() -> ColumnElement[bool]:
    """Return the condition of an orphan: a worker claimed it, and its lease has lapsed."""
    return and_(Job.status == IN_PROGRESS, Job.lease_until_ms < now_ms())


def claimable(max_lost_workers: int, *, orphans: bool = True) -> ColumnElement[bool]:
    """Return the condition of a job that may be claimed: it is due, not cancelled, and the first of its conversation.

    Args:
        max_lost_workers: how many workers a job may lose.
        orphans: whether jobs whose lease has lapsed are among them; only a steady worker may take over.
    """
    queued = and_(Job.status == QUEUED, _is_due(Job))
    orphaned = and_(lapsed(), Job.lost_workers < max_lost_workers)
    return and_(or_(queued, orphaned) if orphans else queued, _may_run(Job))


def _is_due(job: type[Job]) -> ColumnElement[bool]:
    return or_(job.not_before_ms.is_(None), job.not_before_ms <= now_ms())


def _may_run(job: type[Job]) -> ColumnElement[bool]:
    """Return the condition that a job is neither cancelled nor too late, and that no earlier one of its conversation is open."""
    earlier = aliased(Job)
    same_conversation = earlier.conversation_id == job.conversation_id, earlier.position < job.position
    # A query of its own and no EXISTS, which PostgreSQL would join.
    blocking = select(earlier.id).where(*same_conversation, is_open(earlier)).limit(1).correlate(job).scalar_subquery()
    return and_(job.cancel_requested_ms.is_(None), job.deadline_ms > now_ms(), blocking.is_(None))


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

    Where more than OLDEST_JOBS wait, of more than SOME_USERS users, not all users are looked at each time.

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
    # From the beginning, or from anywhere: each user is found sooner or later, however many wait.
    from_user = new_id("user") if secrets.randbits(1) else ""
    values = {"new_owner": owner, "lease_ms": lease_ms, "known_epoch": epoch, "from_user": from_user}
    return session.scalars(statement, values, execution_options=_QUIET).first()


@cache
def _claiming(max_lost_workers: int, max_running: int, orphans: bool) -> ReturningUpdate[Job]:
    """Return the claim's statement, built once: that takes longer than the database needs for it."""
    orphan = Job.status == Status.IN_PROGRESS
    return (
        update(Job)
        .where(Job.id == next_job(max_lost_workers, max_running, orphans=orphans).scalar_subquery())
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


def next_job(max_lost_workers: int, max_running: int, *, orphans: bool) -> Select[str]:
    """Return the query for the job that is next, which locks it; `from_user` is a parameter: where to begin among the users."""
    running = select(Job.user_id, func.count().label("jobs")).where(Job.status == IN_PROGRESS).group_by(Job.user_id).subquery()
    running_jobs = func.coalesce(running.c.jobs, 0)
    candidates = _candidates(max_lost_workers, orphans)
    status = Job.status.concat("")  # asked of the row itself, as it is behind the lock; worded so that no index is looked for
    still_queued = and_(status == "queued", _is_due(Job), running_jobs < max_running)
    # A job that is taken over counts among the running ones already.
    still_orphaned = and_(status == "in_progress", Job.lease_until_ms < now_ms(), Job.lost_workers < max_lost_workers)
    return (
        select(Job.id)
        .select_from(candidates)
        .join(Job, Job.id == candidates.c.id)
        .outerjoin(running, running.c.user_id == Job.user_id)
        .where(or_(still_queued, still_orphaned) if orphans else still_queued, _may_run(Job))
        .order_by(running_jobs, Job.created_ms, Job.id)
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
    )


def _candidates(max_lost_workers: int, orphans: bool) -> CTE:
    """Return the ids of jobs among which the next one is chosen, so that a claim does not grow with the queue.

    They are the oldest jobs; where more than those wait, also the oldest job of some users, from a random one on; and orphans.
    """
    oldest = (
        select(Job.id, Job.created_ms)
        .where(Job.status == QUEUED, _is_due(Job), _may_run(Job))
        .order_by(Job.created_ms)
        .limit(OLDEST_JOBS)
        .cte("oldest")
    )
    users = _waiting_users(oldest)
    head = aliased(Job)
    heads = (
        select(head.id)
        .where(head.user_id == users.c.user_id, is_waiting(head), _is_due(head), _may_run(head))
        .order_by(head.user_id, head.created_ms)
        .limit(1)
        .correlate(users)
        .scalar_subquery()
    )
    chosen = [select(oldest.c.id), select(heads).where(users.c.user_id.is_not(None))]
    if orphans:
        chosen.append(select(Job.id).where(lapsed(), Job.lost_workers < max_lost_workers))
    return union(*chosen).cte("candidates")


def _waiting_users(oldest: CTE) -> CTE:
    """Return some users with queued jobs, found one after the other in an index; none while `oldest` has all that wait."""
    is_full = select(func.count()).select_from(oldest).scalar_subquery() == OLDEST_JOBS
    users = (
        select(_next_user(Job.user_id >= bindparam("from_user", type_=String)).label("user_id"), literal(1).label("place"))
        .where(is_full)
        .cte("users", recursive=True)
    )
    later = _next_user(Job.user_id > users.c.user_id, users)
    return users.union_all(select(later, users.c.place + 1).where(users.c.user_id.is_not(None), users.c.place < SOME_USERS))


def _next_user(which: ColumnElement[bool], *correlated: CTE) -> ScalarSelect[str]:
    query = select(Job.user_id).where(is_waiting(), which).order_by(Job.user_id, Job.created_ms).limit(1)
    return query.correlate(*correlated).scalar_subquery() if correlated else query.scalar_subquery()


def next_turns(conversation_ids: Sequence[str]) -> Select[str]:
    """Return a query for the turns that may run now in these conversations."""
    return select(Job.id).where(Job.conversation_id.in_(conversation_ids), is_waiting(), _is_due(Job), _may_run(Job))


def waiting_jobs(user_id: Any = None) -> Select[str]:
    """Return a query for the ids of queued jobs, oldest first: of a user, whose id may be a parameter, or of all."""
    if user_id is None:
        return select(Job.id).where(Job.status == QUEUED).order_by(Job.created_ms)
    return select(Job.id).where(Job.user_id == user_id, is_waiting()).order_by(Job.user_id, Job.created_ms)


def waiting_for(job: Job) -> Select[str]:
    """Return a query for a job that may have been refused a claim because this one ran, asked after its end.

    It is the next in the conversation, or one over its user's limit: either way one of the same user. Whether the user was at the
    limit is not known any more, so that any queued job of theirs is taken: a ring too many costs one look.
    """
    return waiting_jobs(job.user_id).limit(1)
