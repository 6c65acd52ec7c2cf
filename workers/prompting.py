"""What the model is shown: the system prompt, as much of the newest history as fits, the message."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.orm import Session, aliased

from shared.answer import text_of
from shared.config import Settings
from shared.models import Conversation, Job, Message, Status, User
from shared.vault import Vault
from workers import tokens
from workers.providers.base import Question, Thread

MOST_MESSAGES = 10_000
"""How far up the tree is looked; a longer history fits no budget."""
IMAGE = "[image]"
"""What stands for an earlier image where it is not shown."""
EVERY_MODEL = ("*",)


def question(session: Session, job: Job, config: Settings) -> Question:
    """Put together what a job asks.

    Raises:
        SealBroken: the user's own key cannot be read.
    """
    messages = shown(session, job, config.context_tokens, config.vision_models)
    user = session.get(User, job.user_id)
    sealed = user.provider_key if user else None
    return Question(
        job.model,
        messages,
        job.request.get("parameters", {}),
        kind=job.kind,
        api_key=Vault(config.secret_key).open(sealed) if sealed else None,
        thread=_thread(session, job),
    )


def shown(session: Session, job: Job, budget_tokens: int, vision_models: Sequence[str] = EVERY_MODEL) -> list[dict[str, Any]]:
    """Put together a job's prompt.

    A job that brings its whole context is shown that and nothing else. A turn of a conversation is shown the path from it up the
    tree of messages, newest first until the budget is spent; the turn itself is always shown.

    Args:
        session: an open transaction.
        job: who asks.
        budget_tokens: how much may be shown.
        vision_models: patterns of the models that are shown earlier images.
    """
    if "messages" in job.request:
        return _with_system(job.request.get("system"), job.request["messages"])
    conversation = session.get(Conversation, job.conversation_id)
    system = job.request.get("system") or (conversation.system_prompt if conversation else None)
    path = _without_failures(session, job, _path(session, job))
    turn, *history = [{"role": row.role, **row.body} for row in path]
    if not any(fnmatchcase(job.model, pattern) for pattern in vision_models):
        history = [_without_images(message) for message in history]
    left = budget_tokens - tokens.of_text(system or "", job.model)
    return _with_system(system, _fitting(turn, history, left, job.model))


def _with_system(system: str | None, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "system", "content": system}, *messages] if system else messages


def _path(session: Session, job: Job) -> list[Message]:
    """Walk from the job's own message up to the root."""
    own = Message.conversation_id == job.conversation_id
    first = select(Message.id, Message.parent_id, literal(0).label("depth")).where(own, Message.id == job.user_message_id)
    steps = first.cte("steps", recursive=True)
    above = aliased(Message)
    steps = steps.union_all(
        select(above.id, above.parent_id, steps.c.depth + 1).where(
            above.id == steps.c.parent_id, above.conversation_id == job.conversation_id, steps.c.depth < MOST_MESSAGES
        )
    )
    rows = session.scalars(select(Message).join(steps, steps.c.id == Message.id).order_by(steps.c.depth))
    return list(dict.fromkeys(rows))  # each once, even where a damaged tree bites its tail


def _without_failures(session: Session, job: Job, path: list[Message]) -> list[Message]:
    """Leave out earlier questions that failed without an answer: what was refused once must not be asked with every later turn."""
    failed = select(Job.user_message_id).where(Job.conversation_id == job.conversation_id, Job.status == Status.FAILED)
    unanswered = set(session.scalars(failed)) - {row.parent_id for row in path if row.role == "assistant" and text_of(row.body)}
    return [row for row in path if row.id == job.user_message_id or row.id not in unanswered]


def _without_images(message: dict[str, Any]) -> dict[str, Any]:
    parts = message.get("content")
    if not isinstance(parts, list) or all(part.get("type") == "text" for part in parts):
        return message
    return {**message, "content": "\n".join(part["text"] if part.get("type") == "text" else IMAGE for part in parts)}


def _fitting(turn: dict[str, Any], history: list[dict[str, Any]], budget_tokens: int, model: str) -> list[dict[str, Any]]:
    """Choose of the history, newest first, what fits beside the turn; a tool's answer is nothing without the call before it."""
    left = budget_tokens - tokens.of_message(turn, model)
    chosen: list[dict[str, Any]] = []
    for message in history:
        left -= tokens.of_message(message, model)
        if left < 0:
            break
        if message["role"] != "assistant" or message.get("tool_calls") or text_of(message):
            chosen.append(message)
    while chosen and chosen[-1]["role"] == "tool":
        chosen.pop()
    return [*chosen[::-1], turn]


def _thread(session: Session, job: Job) -> Thread:
    """Tell where an agent would have to go on: at the last answer before the turn that says anything, if an agent gave it."""
    here = session.get(Message, job.user_message_id) if job.user_message_id else None
    for _ in range(MOST_MESSAGES):
        if here is None or (here.role == "assistant" and (here.origin or text_of(here.body))):
            break
        here = session.get(Message, here.parent_id) if here.parent_id else None
    wishes = job.request.get("agent", {})
    return Thread(here.origin if here else None, wishes.get("message_id"), wishes.get("parent_id"))
