"""The one way in: check, save conversation, message and job in one transaction, then ring. Every route and dialect uses it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import structlog
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.context import Context
from api.conversations import conversations
from api.jobs import idempotency
from api.jobs.idempotency import Key, Retry
from shared.database import now_ms
from shared.errors import DatabaseUnavailable, InvalidRequest, NotFound, QueueFull, RateLimited, Unauthorized
from shared.ids import new_id
from shared.messages.answer import text_of
from shared.models import Conversation, Job, Kind, ObjectType, OnInterrupt, Status, User
from shared.models.base import MODEL_CHARS

WAITING_AGAIN_SECONDS = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Submission:
    """A job that somebody wants done: a `message` in a conversation (a new one where none is named), or `messages` alone.

    `conversation_id` may be any name of the conversation; with `opens`, one that is unknown becomes the name of a new one. The
    message follows `parent_id` where that is given, else the last answer. `title`, and the system prompt `opens_with`,
    are for a new conversation. `agent` holds wishes for an agent's ids (`message_id`, `parent_id`), passed on as they are.

    A turn of several messages has all but its last one in `leading`. A new conversation keeps `system` as its own prompt, unless it
    is for this job only (`keeps_system`). `wire` and `wire_request` are what the job is known by, and what else its request said,
    at the door that it came through; a job that is not `stored` goes soon after its end.
    """

    message: dict[str, Any] | None = None
    leading: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] | None = None
    conversation_id: str | None = None
    opens: bool = False
    opens_with: str | None = None
    title: str | None = None
    parent_id: str | None = None
    kind: Kind = Kind.CHAT
    agent: dict[str, str] | None = None
    model: str | None = None
    system: str | None = None
    keeps_system: bool = True
    metadata: dict[str, str] = field(default_factory=dict)
    on_interrupt: OnInterrupt = OnInterrupt.RESTART
    parameters: dict[str, Any] = field(default_factory=dict)
    wire: ObjectType = ObjectType.JOB
    wire_request: dict[str, Any] | None = None
    stored: bool = True

    def digest(self) -> str:
        """Tell two asks apart."""
        return hashlib.sha256(orjson.dumps(self, option=orjson.OPT_SORT_KEYS)).hexdigest()


def submit(
    context: Context, user_id: str, ask: Submission, idempotency_key: str | None = None, *, retry: Retry | None = None
) -> Job:
    """Accept a job: from here on it will end.

    Args:
        context: the process' parts.
        user_id: whose job it is.
        ask: what is asked.
        idempotency_key: the same key and ask is the same job, for a day.
        retry: which try of the request this is, where a client says so and sends no key: all its tries are the same job.

    Returns:
        the job, newly saved, or the one that was saved for this very request before.

    Raises:
        NotFound: no such conversation, or somebody else's; or no such parent in it.
        Conflict: the key stands for another ask.
        InvalidRequest: a message or the key is too long.
        Unauthorized: the user is gone.
        RateLimited: the user submits too fast, or has too many jobs waiting.
        QueueFull: all users together have.
        DatabaseUnavailable: nothing was saved.
    """
    _check_lengths(context, ask)
    key = _key(ask, idempotency_key, retry)
    if key is not None and (earlier := _replayed(context, user_id, key)):
        return earlier
    try:
        context.limits.check_submission(user_id)
        job, is_new = _save(context, user_id, ask, key)
    except (RateLimited, QueueFull):
        if key is not None and key.renews:
            _forget(context, user_id, key)
        raise
    except IntegrityError:
        # Another request saved the same key between our look and our write: now it is there to be found.
        if key is None or (earlier := _replayed(context, user_id, key)) is None:
            raise
        return earlier
    if is_new:
        context.queue.ring(job.id)
    return job


def _key(ask: Submission, name: str | None, retry: Retry | None) -> Key | None:
    if name is not None:
        return idempotency.own(name, ask.digest())
    return None if retry is None else idempotency.of_retry(retry, ask.digest())


def _replayed(context: Context, user_id: str, key: Key) -> Job | None:
    with context.database.read() as session:
        return idempotency.replayed(session, user_id, key)


def _forget(context: Context, user_id: str, key: Key) -> None:
    """Let the next try of a refused request be a job of its own, and not an earlier request's that was the same.

    Where the database is away, the refusal is still what there is to say.
    """
    try:
        if _replayed(context, user_id, replace(key, renews=False)):
            with context.database.write() as session:
                idempotency.forget(session, user_id, key)
    except DatabaseUnavailable as error:
        log.warning("request.unavailable", error=str(error.__cause__))


def _check_lengths(context: Context, ask: Submission) -> None:
    check_length("model", ask.model or "", MODEL_CHARS)
    for name, text in _texts(ask):
        check_length(name, text, context.config.max_message_chars)


def check_length(name: str, text: str, most: int) -> None:
    """Bound what somebody says.

    Raises:
        InvalidRequest: it is longer; `name` is what it is called.
    """
    if len(text) > most:
        raise InvalidRequest(f"{name} is longer than {most} characters.", param=name, code="string_above_max_length")


def _texts(ask: Submission) -> Iterator[tuple[str, str]]:
    """Name every text that is asked with."""
    if ask.message is not None:
        yield "input" if ask.wire is ObjectType.RESPONSE else "message", text_of(ask.message)
    for message in ask.leading:
        yield "input", text_of(message)
    if ask.system is not None:
        yield "instructions" if ask.wire is ObjectType.RESPONSE else "system", ask.system
    for index, message in enumerate(ask.messages or ()):
        yield f"messages.{index}.content", text_of(message)


def _save(context: Context, user_id: str, ask: Submission, key: Key | None) -> tuple[Job, bool]:
    """Save a job, unless another try of the same request has come first; tells which."""
    with context.database.write() as session:
        # The lock makes a user's submissions one after another, so that his limit is exact.
        user = session.get(User, user_id, with_for_update={"key_share": True})
        if user is None:
            raise Unauthorized("This account is gone.")
        if key is not None and (earlier := idempotency.replayed(session, user_id, key)):
            return earlier, False
        _admit(context, session, user_id)
        job = _new_job(context, session, user, ask)
        if key is not None:
            idempotency.remember(session, user_id, key, job.id)
        return job, True


def _admit(context: Context, session: Session, user_id: str) -> None:
    """Refuse what would wait too long anyway, before anything is stored."""
    config = context.config
    if _waiting(session, config.max_queued_jobs, Job.user_id == user_id) >= config.max_queued_jobs:
        message = f"{config.max_queued_jobs} of your jobs are waiting already."
        raise RateLimited(message, retry_after_seconds=WAITING_AGAIN_SECONDS, code="too_many_queued_jobs")
    if _waiting(session, config.max_queue) >= config.max_queue:
        raise QueueFull


def _waiting(session: Session, most: int, *whose: ColumnElement[bool]) -> int:
    """Count queued jobs, but no further than is asked."""
    some = select(Job.id).where(Job.status == Status.QUEUED, *whose).limit(most).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _new_job(context: Context, session: Session, user: User, ask: Submission) -> Job:
    job = Job(
        id=new_id("job"),
        user_id=user.id,
        status=Status.QUEUED,
        kind=ask.kind,
        model=ask.model or user.model or context.config.default_model,
        request=_request(ask),
        on_interrupt=ask.on_interrupt,
        labels=ask.metadata,
        wire=ask.wire,
        wire_request=ask.wire_request,
        stored=ask.stored,
        deadline_ms=now_ms() + int(context.config.job_deadline_seconds * 1000),
        rung_ms=now_ms(),
    )
    if ask.message is not None:
        _take_turn(session, job, ask)
    session.add(job)
    session.flush()
    session.refresh(job)
    return job


def _request(ask: Submission) -> dict[str, Any]:
    """Keep what a worker needs to know of what was asked."""
    request: dict[str, Any] = {"parameters": ask.parameters, "system": ask.system}
    if ask.messages is not None:
        request["messages"] = ask.messages
    if ask.agent is not None:
        request["agent"] = ask.agent
    if ask.leading:
        request["turn_messages"] = len(ask.leading) + 1
    return request


def _take_turn(session: Session, job: Job, ask: Submission) -> None:
    """Hang the turn under its parent, else the conversation's leaf, and make the answer to come the new leaf."""
    assert ask.message is not None
    conversation = _conversation(session, job.user_id, ask)
    parent_id = conversation.leaf_id
    if ask.parent_id is not None:
        parent_id = conversations.place_of(session, conversation, ask.parent_id)
    turn = [*ask.leading, ask.message]
    job.conversation_id = conversation.id
    job.user_message_id = conversations.hang(session, conversation, turn, parent_id)
    job.answer_id = conversation.leaf_id = new_id("msg")
    job.position = conversation.last_position


def _conversation(session: Session, user_id: str, ask: Submission) -> Conversation:
    """Make a conversation, or lock one; either way its next position is taken."""
    known = ask.conversation_id and conversations.find(session, user_id, ask.conversation_id)
    if not known:
        if ask.conversation_id is not None and not ask.opens:
            raise NotFound("There is no such conversation.", param="conversation_id")
        system = ask.opens_with or (ask.system if ask.keeps_system else None)
        made = conversations.make(session, user_id, name=ask.conversation_id, system=system, title=ask.title)
        made.last_position = 1
        return made
    # The row is locked by this, and read again behind the lock.
    return conversations.locked(session, known.id, last_position=Conversation.last_position + 1)
