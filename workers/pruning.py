"""Delete what is past its retention: finished jobs, silent conversations, expired tokens and idempotency keys."""

from collections.abc import Callable
from functools import partial

from sqlalchemy import ColumnElement, and_, delete, exists, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningDelete

from shared.database import Database, now_once
from shared.models import UNFINISHED, Conversation, IdempotencyKey, Job, Message, RefreshToken, WebhookDelivery
from shared.models.job import KEY_SECONDS
from shared.timestamps import DAY_MS, MS_PER_SECOND

BATCH = 500
"""Rows per transaction, so that none is long."""

Deletion = ReturningDelete[str]


def prune(database: Database, retention_days: int, unstored_seconds: float) -> int:
    """Delete what is due, a batch a transaction, until nothing is left.

    Args:
        database: the database.
        retention_days: how long finished jobs and silent conversations are kept; 0 is for ever.
        unstored_seconds: how long after their end jobs are kept that were not to be stored.

    Returns:
        how many rows went, not counting those that went with them.

    Raises:
        DatabaseUnavailable: the rest is left to the next time.
    """
    unstored_ms = now_once() - int(unstored_seconds * 1000)
    deletions = [_all(_expired_tokens()), _all(_old_keys()), _all(_unstored_jobs(unstored_ms))]
    if retention_days:
        before_ms = now_once() - retention_days * DAY_MS
        deletions += [partial(_silent_conversations, before_ms), _all(_old_jobs(before_ms)), _all(_old_deliveries(before_ms))]
    return sum(_until_done(database, deletion) for deletion in deletions)


def _until_done(database: Database, deletion: Callable[[Session], int]) -> int:
    total = 0
    while True:
        with database.write() as session:
            gone = deletion(session)
        total += gone
        if gone < BATCH:
            return total


def _all(deletion: Deletion) -> Callable[[Session], int]:
    return lambda session: _rows(session, deletion)


def _silent_conversations(before_ms: ColumnElement[int], session: Session) -> int:
    """Delete conversations whole, with messages and jobs, once nothing in them is newer.

    Each is locked before it is looked at for the last time: a submission keeps the same lock until its turn can be seen.
    """
    locked = session.scalars(
        select(Conversation.id).where(_is_silent(before_ms)).limit(BATCH).with_for_update(skip_locked=True)
    ).all()
    again = delete(Conversation).where(Conversation.id.in_(locked), _is_silent(before_ms)).returning(Conversation.id)
    return _rows(session, again)


def _is_silent(before_ms: ColumnElement[int]) -> ColumnElement[bool]:
    has_new_messages = exists().where(Message.conversation_id == Conversation.id, Message.created_ms >= before_ms)
    has_running_jobs = exists().where(Job.conversation_id == Conversation.id, Job.status.in_(UNFINISHED))
    return and_(Conversation.created_ms < before_ms, ~has_new_messages, ~has_running_jobs)


def _rows(session: Session, deletion: Deletion) -> int:
    return len(session.execute(deletion, execution_options={"synchronize_session": False}).all())


def _expired_tokens() -> Deletion:
    due = select(RefreshToken.id).where(RefreshToken.expires_ms < now_once()).limit(BATCH)
    return delete(RefreshToken).where(RefreshToken.id.in_(due)).returning(RefreshToken.id)


def _old_keys() -> Deletion:
    due = select(IdempotencyKey.job_id).where(IdempotencyKey.created_ms < now_once() - KEY_SECONDS * MS_PER_SECOND).limit(BATCH)
    return delete(IdempotencyKey).where(IdempotencyKey.job_id.in_(due)).returning(IdempotencyKey.job_id)


def _old_jobs(before_ms: ColumnElement[int]) -> Deletion:
    due = select(Job.id).where(Job.finished_ms < before_ms).limit(BATCH)
    return delete(Job).where(Job.id.in_(due)).returning(Job.id)


def _unstored_jobs(before_ms: ColumnElement[int]) -> Deletion:
    due = select(Job.id).where(~Job.stored, Job.finished_ms < before_ms).limit(BATCH)
    return delete(Job).where(Job.id.in_(due)).returning(Job.id)


def _old_deliveries(before_ms: ColumnElement[int]) -> Deletion:
    due = select(WebhookDelivery.id).where(WebhookDelivery.created_ms < before_ms).limit(BATCH)
    return delete(WebhookDelivery).where(WebhookDelivery.id.in_(due)).returning(WebhookDelivery.id)
