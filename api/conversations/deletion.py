"""Delete conversations, and messages in them: what still runs is cancelled first, and waited for (bounded)."""

from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.conversations import conversations
from shared.messages import tree
from shared.messages.answer import text_of
from shared.models import UNFINISHED, Conversation, Job, Message

if TYPE_CHECKING:
    from api.context import Context


def remove(context: "Context", conversation: Conversation) -> None:
    """Delete a conversation with its jobs and messages; running jobs are cancelled first, and waited for (bounded)."""
    with context.database.read() as session:
        running = (
            select(Job.id).where(Job.conversation_id == conversation.id, Job.status.in_(UNFINISHED)).order_by(Job.position.desc())
        )
        unfinished = list(session.scalars(running))
    for job_id in unfinished:
        context.jobs.stop(conversation.user_id, job_id)
    with context.database.write() as session:
        session.execute(delete(Conversation).where(Conversation.id == conversation.id))


def remove_message(context: "Context", conversation: Conversation, message_id: str) -> bool:
    """Take one message out of the tree; what followed it follows its parent. Tells whether there was such a message.

    A question that is not answered yet is cancelled first; where nothing was said to it, its empty answer goes with it.
    """
    with context.database.read() as session:
        message = session.get(Message, message_id)
        if message is None or message.conversation_id != conversation.id:
            return False
        asked = select(Job).where(Job.conversation_id == conversation.id, Job.user_message_id == message_id)
        jobs = list(session.scalars(asked))
    for job in jobs:
        if not job.status.is_terminal:
            context.jobs.stop(conversation.user_id, job.id)
    with context.database.write() as session:
        conversations.locked(session, conversation.id)
        message = session.get(Message, message_id, populate_existing=True)
        for job_id, answer_id in ((job.id, job.answer_id) for job in jobs):
            if message is not None:
                _answer_parent(session, job_id, message.parent_id)
            answer = session.get(Message, answer_id)
            if answer is not None and (answer.failed_turn or not (answer.body.get("tool_calls") or text_of(answer.body))):
                tree.remove(session, answer)
        if message is not None:
            tree.remove(session, message)
    return True


def _answer_parent(session: Session, job_id: str, parent_id: str | None) -> None:
    """Let a job's answer follow what its question followed: it may yet be written, or be looked for after it was removed."""
    job = session.get(Job, job_id, with_for_update=True)
    if job is not None:
        job.user_message_id = parent_id
