"""Deletes what is older than its keeping: finished jobs, conversations nobody speaks in, spent tokens and idempotency keys."""

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningDelete

from shared.database import Database, now_ms
from shared.models import UNFINISHED, Conversation, IdempotencyKey, Job, Message, RefreshToken, WebhookDelivery

DAY_MS = 86_400_000
IDEMPOTENCY_DAYS = 1
BATCH = 500
"""Rows per transaction, so that none is long."""

Deletion = ReturningDelete[str]


def prune(database: Database, retention_days: int, unstored_seconds: float) -> int:
    """Delete what is due, a batch a transaction, until nothing is left.

    Args:
        database: where.
        retention_days: how long finished jobs and silent conversations are kept; 0 is for ever.
        unstored_seconds: how long after their end jobs are kept that were not to be stored.

    Returns:
        how many rows went, not counting those that went with them.

    Raises:
        DatabaseUnavailable: the rest is left to the next time.
    """
    deletions = [_spent_tokens(), _old_keys(), _unstored_jobs(now_ms() - int(unstored_seconds * 1000))]
    if retention_days:
        before_ms = now_ms() - retention_days * DAY_MS
        deletions += [_silent_conversations(before_ms), _old_jobs(before_ms), _old_deliveries(before_ms)]
    return sum(_until_done(database, deletion) for deletion in deletions)


def _until_done(database: Database, deletion: Deletion) -> int:
    total = 0
    while True:
        with database.write() as session:
            gone = _rows(session, deletion)
        total += gone
        if gone < BATCH:
            return total


def _rows(session: Session, deletion: Deletion) -> int:
    return len(session.execute(deletion, execution_options={"synchronize_session": False}).all())


def _spent_tokens() -> Deletion:
    due = select(RefreshToken.id).where(RefreshToken.expires_ms < now_ms()).limit(BATCH)
    return delete(RefreshToken).where(RefreshToken.id.in_(due)).returning(RefreshToken.id)


def _old_keys() -> Deletion:
    due = select(IdempotencyKey.job_id).where(IdempotencyKey.created_ms < now_ms() - IDEMPOTENCY_DAYS * DAY_MS).limit(BATCH)
    return delete(IdempotencyKey).where(IdempotencyKey.job_id.in_(due)).returning(IdempotencyKey.job_id)


def _silent_conversations(before_ms: ColumnElement[int]) -> Deletion:
    """A conversation goes whole, with its messages and jobs, once nothing in it is newer."""
    spoken = exists().where(Message.conversation_id == Conversation.id, Message.created_ms >= before_ms)
    running = exists().where(Job.conversation_id == Conversation.id, Job.status.in_(UNFINISHED))
    due = select(Conversation.id).where(Conversation.created_ms < before_ms, ~spoken, ~running).limit(BATCH)
    return delete(Conversation).where(Conversation.id.in_(due)).returning(Conversation.id)


def _old_jobs(before_ms: ColumnElement[int]) -> Deletion:
    due = select(Job.id).where(Job.finished_ms < before_ms).limit(BATCH)
    return delete(Job).where(Job.id.in_(due)).returning(Job.id)


def _unstored_jobs(before_ms: ColumnElement[int]) -> Deletion:
    due = select(Job.id).where(~Job.stored, Job.finished_ms < before_ms).limit(BATCH)
    return delete(Job).where(Job.id.in_(due)).returning(Job.id)


def _old_deliveries(before_ms: ColumnElement[int]) -> Deletion:
    due = select(WebhookDelivery.id).where(WebhookDelivery.created_ms < before_ms).limit(BATCH)
    return delete(WebhookDelivery).where(WebhookDelivery.id.in_(due)).returning(WebhookDelivery.id)
