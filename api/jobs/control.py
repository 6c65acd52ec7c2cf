"""Find, cancel and delete jobs: what their owner can do once they are accepted."""

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from api.context import Context
from api.conversations import conversations
from api.streaming.following import wait_for_change
from shared import keyspace
from shared.errors import NotFound
from shared.jobs import ending, lifecycle
from shared.log import stream
from shared.models import Conversation, Job, Message, Status
from shared.redis_clients import RedisError

CANCEL_WAIT_SECONDS = 2.0
"""How long a cancel waits for the worker to stop, so that its answer already tells the end."""
DELETE_WAIT_SECONDS = 10.0

log = structlog.get_logger(__name__)


def find(context: Context, user_id: str, job_id: str, *, param: str = "job_id") -> Job:
    """Find somebody's job; `param` is what the caller calls its id.

    Raises:
        NotFound: there is none, or it is somebody else's; the two answer alike.
    """
    with context.database.read() as session:
        # PostgreSQL would not even look for a text with a NUL, which a path can hold.
        job = None if "\x00" in job_id else session.scalar(select(Job).where(Job.id == job_id, Job.user_id == user_id))
    if job is None:
        raise NotFound("There is no such job.", param=param)
    return job


def cancel(context: Context, user_id: str, job_id: str, wait_seconds: float = CANCEL_WAIT_SECONDS) -> Job:
    """Ask for a job's end, and wait a little for it; of a job that is over, nothing is changed.

    A job that nobody holds ends here and now. A running one is told through its worker; if the message is lost, the worker's next
    renewal tells it, and if the worker is dead, a sweep ends the job.

    Returns:
        the job as it then is.

    Raises:
        NotFound: as `find`.
    """
    job = find(context, user_id, job_id)
    with context.database.write() as session:
        unfinished = lifecycle.want_cancelled(session, job_id)
    if unfinished:
        _tell(context, job_id)
        _end_if_unheld(context, job)
        running = find(context, user_id, job_id)
        if not running.status.is_terminal:
            wait_for_change(context, running, wait_seconds)
    return find(context, user_id, job_id)


def _tell(context: Context, job_id: str) -> None:
    try:
        context.redis.publish(keyspace.CANCEL_CHANNEL, job_id)
    except RedisError as error:
        log.warning("cancel.redis_away", job=job_id, error=str(error))


def _end_if_unheld(context: Context, job: Job) -> None:
    """End a job that is queued, or whose worker is dead. While Redis is away a sweep will do it, since the log must be read."""
    if job.status is Status.IN_PROGRESS and not _has_lapsed(context, job):
        return
    try:
        ended = ending.end_unheld(
            context.database, context.redis, job, ending.CANCELLED, int(context.config.log_ttl_seconds * 1000)
        )
    except RedisError as error:
        log.warning("cancel.redis_away", job=job.id, error=str(error))
        return
    if ended and (waiting := _waiting_for(context, job)):
        context.queue.ring(waiting)


def _has_lapsed(context: Context, job: Job) -> bool:
    with context.database.read() as session:
        return session.scalar(select(Job.id).where(Job.id == job.id, lifecycle.lapsed())) is not None


def _waiting_for(context: Context, job: Job) -> str | None:
    with context.database.read() as session:
        return session.scalar(lifecycle.waiting_for(job))


def stop(context: Context, user_id: str, job_id: str) -> Job:
    """Cancel a job that is about to be deleted, and wait for its end, as long as is reasonable.

    Raises:
        NotFound: as `find`.
    """
    return cancel(context, user_id, job_id, DELETE_WAIT_SECONDS)


def remove(context: Context, user_id: str, job_id: str) -> None:
    """Delete a job; a running one is cancelled first. Its messages stay in their conversation.

    Raises:
        NotFound: as `find`.
    """
    stop(context, user_id, job_id)
    with context.database.write() as session:
        _close_gap(session, job_id)
        session.execute(delete(Job).where(Job.id == job_id, Job.user_id == user_id))
    try:
        context.redis.execute_command(*stream.remove_command(job_id))
    except RedisError as error:
        log.warning("remove.redis_away", job=job_id, error=str(error))  # its expiry takes it


def _close_gap(session: Session, job_id: str) -> None:
    """Let talk go on at the question whose answer will never come, where the job did not end in time and is deleted all the same.

    The conversation is locked first, as everywhere: turns that are just being accepted take their turn.
    """
    job = session.get(Job, job_id)
    if job is None or job.status.is_terminal or job.conversation_id is None:
        return
    conversations.locked(session, job.conversation_id)
    session.refresh(job, with_for_update=True)
    if job.status.is_terminal:
        return
    behind = update(Message).where(Message.parent_id == job.answer_id, Message.conversation_id == job.conversation_id)
    session.execute(behind.values(parent_id=job.user_message_id))
    here = update(Conversation).where(Conversation.id == job.conversation_id, Conversation.leaf_id == job.answer_id)
    session.execute(here.values(leaf_id=job.user_message_id))


def page(context: Context, user_id: str, *, after: str | None, limit: int, status: Status | None) -> tuple[list[Job], bool]:
    """List somebody's jobs, newest first, from behind a job.

    Returns:
        the jobs, and whether there are more.

    Raises:
        NotFound: `after` names no job of theirs.
    """
    query = select(Job).where(Job.user_id == user_id).order_by(Job.created_ms.desc(), Job.id.desc())
    if after is not None:
        last = find(context, user_id, after, param="after")
        older = (Job.created_ms < last.created_ms) | ((Job.created_ms == last.created_ms) & (Job.id < last.id))
        query = query.where(older)
    if status is not None:
        query = query.where(Job.status == status)
    with context.database.read() as session:
        jobs = list(session.scalars(query.limit(limit + 1)))
    return jobs[:limit], len(jobs) > limit
