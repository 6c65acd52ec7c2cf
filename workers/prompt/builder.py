"""What the model is shown: the system prompt, as much of the newest history as fits, the message."""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain, islice, takewhile
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.orm import Session, aliased

from shared.agents.requests import AGENT_MODEL
from shared.config import Settings
from shared.messages.answer import text_of
from shared.models import Conversation, Job, Message, User
from shared.vault import SealBroken, Vault
from workers.prompt import token_counter
from workers.providers.base import CompletionRequest, ProviderError, Thread

MOST_MESSAGES = 10_000
"""How far up the tree is looked; a longer history fits no budget."""
BATCH_MESSAGES = 32
"""So many are read at once: what does not fit the budget is not read, and may be megabytes of images."""
KEY_UNREADABLE = "Your own provider key cannot be used any more. Set it again."
IMAGE = "[image]"
"""What stands for an earlier image where it is not shown."""
EVERY_MODEL = ("*",)


def question(session: Session, job: Job, config: Settings) -> CompletionRequest:
    """Put together what a job asks, with the user's own key where he has one and the default provider is asked."""
    messages = shown(session, job, config.context_tokens, config.vision_models)
    key, unaskable = None, None
    try:
        key = _own_key(session, job, config)
    except SealBroken as error:
        unaskable = ProviderError(KEY_UNREADABLE, code=error.reason, retryable=False)
    return CompletionRequest(
        job.model,
        messages,
        job.request.get("parameters", {}),
        kind=job.kind,
        api_key=key,
        thread=_thread(session, job),
        unaskable=unaskable,
        said=_said(job, messages),
    )


def _said(job: Job, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tell what of a prompt comes from the user with this job: of a turn its own messages, of a whole context all of his."""
    count = len(job.request["messages"]) if "messages" in job.request else job.request.get("turn_messages", 1)
    return [message for message in messages[-count:] if message["role"] == "user"]


def _own_key(session: Session, job: Job, config: Settings) -> str | None:
    """Open the user's own key.

    Raises:
        SealBroken: it cannot be read, or could not be sent in a header.
    """
    user = session.get(User, job.user_id)
    if user is None or not user.provider_key or job.model == AGENT_MODEL:
        return None
    key = Vault(config.secret_key).open(user.provider_key)
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise SealBroken
    return key


def shown(session: Session, job: Job, budget_tokens: int, vision_models: Sequence[str] = EVERY_MODEL) -> list[dict[str, Any]]:
    """Put together a job's prompt.

    A job that brings its whole context is shown that and nothing else. A turn of a conversation is shown the path from it up the
    tree of messages, newest first until the budget is spent; the turn itself is always shown, whole.

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
    path = _path(session, job)
    turn, path = _turn(job.request.get("turn_messages", 1), path)
    history: Iterable[dict[str, Any]] = map(_message, _without_failures(path))
    if not any(fnmatchcase(job.model, pattern) for pattern in vision_models):
        history = map(_without_images, history)
    left = (
        budget_tokens
        - token_counter.of_text(system or "", job.model)
        - sum(token_counter.of_message(said, job.model) for said in turn)
    )
    return _with_system(system, [*_whole(_fitting(history, left, job.model)), *turn])


def _turn(count: int, path: Iterator[Message]) -> tuple[list[dict[str, Any]], Iterator[Message]]:
    """Part what is asked from what was said before: the newest messages, and where tools' answers begin them, the calls as well."""
    rows = list(islice(path, count))
    for row in path:
        if rows[-1].role != "tool" or not (row.role == "tool" or row.body.get("tool_calls")):
            path = chain([row], path)
            break
        rows.append(row)
    return [_message(row) for row in reversed(rows)], path


def _with_system(system: str | None, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "system", "content": system}, *messages] if system else messages


def _message(row: Message) -> dict[str, Any]:
    return {"role": row.role, **row.body}


def _path(session: Session, job: Job) -> Iterator[Message]:
    """Walk from the job's own message up to the root, and read no further than somebody wants to know."""
    ids = list(dict.fromkeys(_ids(session, job)))  # each once, even where a damaged tree bites its tail
    for start in range(0, len(ids), BATCH_MESSAGES):
        batch = ids[start : start + BATCH_MESSAGES]
        rows = {row.id: row for row in session.scalars(select(Message).where(Message.id.in_(batch)))}
        yield from (rows[message_id] for message_id in batch if message_id in rows)


def _ids(session: Session, job: Job) -> Iterable[str]:
    own = Message.conversation_id == job.conversation_id
    first = select(Message.id, Message.parent_id, literal(0).label("depth")).where(own, Message.id == job.user_message_id)
    steps = first.cte("steps", recursive=True)
    above = aliased(Message)
    steps = steps.union_all(
        select(above.id, above.parent_id, steps.c.depth + 1).where(
            above.id == steps.c.parent_id, above.conversation_id == job.conversation_id, steps.c.depth < MOST_MESSAGES
        )
    )
    return session.scalars(select(steps.c.id).order_by(steps.c.depth))


def _without_failures(path: Iterable[Message]) -> Iterator[Message]:
    """Leave out earlier turns that failed without a text: what was refused once must not be asked with every later turn."""
    skipped = 0
    for row in path:
        if row.failed_turn:
            skipped = row.failed_turn
        elif skipped:
            skipped -= 1
        else:
            yield row


def _without_images(message: dict[str, Any]) -> dict[str, Any]:
    parts = message.get("content")
    if not isinstance(parts, list) or all(part.get("type") == "text" for part in parts):
        return message
    return {**message, "content": "\n".join(part["text"] if part.get("type") == "text" else IMAGE for part in parts)}


def _fitting(history: Iterable[dict[str, Any]], budget_tokens: int, model: str) -> list[dict[str, Any]]:
    """Choose of the history, newest first, what fits, and tell it oldest first."""
    left = budget_tokens
    chosen: list[dict[str, Any]] = []
    for message in history:
        left -= token_counter.of_message(message, model)
        if left < 0:
            break
        chosen.append(message)
    return chosen[::-1]


def _whole(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Leave out answers that say nothing, calls of tools that were not all answered, and what tools answered to no call."""
    answerable: set[str] = set()
    for place, message in enumerate(messages, 1):
        if message["role"] == "tool":
            if message.get("tool_call_id") in answerable:
                yield message
            continue
        calls = {call["id"] for call in message.get("tool_calls") or ()}
        answerable = calls if calls and calls <= _answered(messages, place) else set()
        if answerable or message["role"] != "assistant":
            yield message
        elif text_of(message):
            yield {name: said for name, said in message.items() if name != "tool_calls"}


def _answered(messages: list[dict[str, Any]], place: int) -> set[str | None]:
    """Tell which calls the tools' messages answer that begin at this place."""
    answers = takewhile(lambda message: message["role"] == "tool", islice(messages, place, None))
    return {answer.get("tool_call_id") for answer in answers}


def _thread(session: Session, job: Job) -> Thread:
    """Tell where an agent would have to go on: at the last answer before the turn that says anything, if an agent gave it."""
    here = session.get(Message, job.user_message_id) if job.user_message_id else None
    for _ in range(MOST_MESSAGES):
        if here is None or (here.role == "assistant" and (here.origin or text_of(here.body))):
            break
        here = session.get(Message, here.parent_id) if here.parent_id else None
    wishes = job.request.get("agent", {})
    return Thread(here.origin if here else None, wishes.get("message_id"), wishes.get("parent_id"))
