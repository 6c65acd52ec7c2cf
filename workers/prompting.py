"""What the model is shown: the system prompt, as much of the newest history as fits, the message."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.answer import estimate_tokens, text_of
from shared.models import Conversation, Job, Message

MESSAGE_OVERHEAD_TOKENS = 4


def shown(session: Session, job: Job, budget_tokens: int) -> list[dict[str, Any]]:
    """Put together a job's prompt.

    A job that brings its whole context is shown that and nothing else. A turn of a conversation is shown the path from it up the
    tree of messages, newest first until the budget is spent; the turn itself is always shown.
    """
    if "messages" in job.request:
        return _with_system(job.request.get("system"), job.request["messages"])
    conversation = session.get(Conversation, job.conversation_id)
    system = job.request.get("system") or (conversation.system_prompt if conversation else None)
    return _with_system(system, _fitting(_path(session, job), budget_tokens - estimate_tokens(system or "")))


def _with_system(system: str | None, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "system", "content": system}, *messages] if system else messages


def _path(session: Session, job: Job) -> list[Message]:
    """Walk from the job's own message up to the root."""
    rows = session.scalars(select(Message).where(Message.conversation_id == job.conversation_id))
    by_id = {row.id: row for row in rows}
    path = []
    here = job.user_message_id
    while here is not None and (row := by_id.pop(here, None)) is not None:
        path.append(row)
        here = row.parent_id
    return path


def _fitting(path: list[Message], budget_tokens: int) -> list[dict[str, Any]]:
    chosen: list[dict[str, Any]] = []
    for row in path:
        message = {"role": row.role, **row.body}
        budget_tokens -= estimate_tokens(text_of(message)) + MESSAGE_OVERHEAD_TOKENS
        if budget_tokens < 0 and chosen:
            break
        if row.role != "assistant" or text_of(message):
            chosen.append(message)
    return chosen[::-1]
