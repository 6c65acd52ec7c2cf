"""The one way in: check, save conversation, message and job in one transaction, then ring. Every route and dialect uses it."""

from dataclasses import replace

import structlog
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.conversations import rows
from api.http.limits import Limits
from api.jobs import idempotency
from api.jobs.idempotency import Key
from api.jobs.submission import Submission, check_length
from shared.config import Settings
from shared.database import Database, now_ms
from shared.errors import DatabaseUnavailable, NotFound, QueueFull, RateLimited, Unauthorized
from shared.ids import new_id
from shared.messages import tree
from shared.models import Conversation, Job, Status, User
from shared.models.base import MODEL_CHARS
from shared.queue import Queue

RETRY_AFTER_SECONDS = 5
"""When a user whose queue is full may come back."""

log = structlog.get_logger(__name__)


class Submitter:
    """Accepts jobs."""

    def __init__(self, config: Settings, database: Database, queue: Queue, limits: Limits) -> None:
        """Keep the parts."""
        self._config = config
        self._database = database
        self._queue = queue
        self._limits = limits

    def submit(self, user_id: str, submission: Submission, key: Key | None = None) -> Job:
        """Accept a job: from here on it will end.

        Args:
            user_id: whose job it is.
            submission: what is to be done.
            key: by what the request is known again; the same key is the same job for as long as it stands.

        Returns:
            the job, newly saved, or the one that was saved for this very request before.

        Raises:
            NotFound: no such conversation, or another user's; or no such parent in it.
            Conflict: the key stands for another request.
            InvalidRequest: a text is too long.
            Unauthorized: the user is gone.
            RateLimited: the user submits too fast, or has too many jobs waiting.
            QueueFull: all users together have.
            DatabaseUnavailable: nothing was saved.
        """
        self._check_lengths(submission)
        if key is not None and (earlier := self._replayed(user_id, key)):
            return earlier
        try:
            self._limits.check_submission(user_id)
            job, is_new = self._save(user_id, submission, key)
        except (RateLimited, QueueFull):
            if key is not None and key.renews:
                self._forget(user_id, key)
            raise
        except IntegrityError:
            # Another request saved the same key between our look and our write: now it is there to be found.
            if key is None or (earlier := self._replayed(user_id, key)) is None:
                raise
            return earlier
        if is_new:
            log.info("job.accepted", job=job.id, user=user_id, model=job.model)  # the request's id is bound to every line
            self._queue.ring(job.id)
        return job

    def _check_lengths(self, submission: Submission) -> None:
        check_length("model", submission.model or "", MODEL_CHARS)
        for name, text in submission.texts():
            check_length(name, text, self._config.max_message_chars)

    def _replayed(self, user_id: str, key: Key) -> Job | None:
        with self._database.read() as session:
            job = idempotency.replayed(session, user_id, key)
        if job is not None:
            log.info("job.replayed", job=job.id)
        return job

    def _forget(self, user_id: str, key: Key) -> None:
        """Let the next try of a refused request be a job of its own, and not an earlier request's that was the same.

        Where the database is away, the refusal is still the answer.
        """
        try:
            with self._database.write() as session:
                if idempotency.replayed(session, user_id, replace(key, renews=False)):
                    idempotency.forget(session, user_id, key)
        except DatabaseUnavailable as error:
            log.warning("idempotency.not_forgotten", error=str(error.__cause__))

    def _save(self, user_id: str, submission: Submission, key: Key | None) -> tuple[Job, bool]:
        """Save a job, unless another try of the same request has come first; return which it is, and whether it is new."""
        with self._database.write() as session:
            # The lock makes a user's submissions one after another, so that the limit is exact.
            user = session.get(User, user_id, with_for_update={"key_share": True})
            if user is None:
                raise Unauthorized("This account is gone.")
            if key is not None and (earlier := idempotency.replayed(session, user_id, key)):
                return earlier, False
            self._admit(session, user_id)
            job = self._new_job(session, user, submission)
            if key is not None:
                idempotency.remember(session, user_id, key, job.id)
            return job, True

    def _admit(self, session: Session, user_id: str) -> None:
        """Refuse what would wait too long anyway, before anything is stored."""
        max_queued = self._config.max_queued_jobs
        if _count_queued(session, max_queued, Job.user_id == user_id) >= max_queued:
            message = f"{max_queued} of your jobs are waiting already."
            raise RateLimited(message, retry_after_seconds=RETRY_AFTER_SECONDS, code="too_many_queued_jobs")
        if _count_queued(session, self._config.max_queue) >= self._config.max_queue:
            raise QueueFull

    def _new_job(self, session: Session, user: User, submission: Submission) -> Job:
        job = Job(
            id=new_id("job"),
            user_id=user.id,
            status=Status.QUEUED,
            kind=submission.kind,
            model=submission.model or user.model or self._config.default_model,
            request=submission.stored_request(),
            on_interrupt=submission.on_interrupt,
            labels=submission.metadata,
            wire=submission.wire,
            wire_request=submission.wire_request,
            stored=submission.stored,
            deadline_ms=now_ms() + int(self._config.job_deadline_seconds * 1000),
            rung_ms=now_ms(),
        )
        if submission.turn:
            _take_turn(session, job, submission)
        session.add(job)
        session.flush()
        session.refresh(job)
        return job


def _count_queued(session: Session, limit: int, *whose: ColumnElement[bool]) -> int:
    """Return the number of queued jobs, counted no further than the limit."""
    some = select(Job.id).where(Job.status == Status.QUEUED, *whose).limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _take_turn(session: Session, job: Job, submission: Submission) -> None:
    """Append the turn to its parent, else to the conversation's leaf, and make the answer to come the new leaf."""
    conversation = _conversation(session, job.user_id, submission)
    parent_id = conversation.leaf_id
    if submission.place.parent_id is not None:
        parent_id = tree.resolve_parent(session, conversation, submission.place.parent_id)
    job.conversation_id = conversation.id
    job.user_message_id = tree.append(session, conversation.id, submission.turn, parent_id)
    job.answer_id = conversation.leaf_id = new_id("msg")
    job.position = conversation.last_position


def _conversation(session: Session, user_id: str, submission: Submission) -> Conversation:
    """Make a conversation, or lock one; either way its next position is taken."""
    place = submission.place
    known = place.conversation_id and rows.find(session, user_id, place.conversation_id)
    if not known:
        if place.conversation_id is not None and not place.may_create:
            raise NotFound("There is no such conversation.", param="conversation_id")
        system = place.initial_prompt or (submission.system if submission.stores_system else None)
        made = rows.create(session, user_id, name=place.conversation_id, system=system, title=place.title)
        made.last_position = 1
        return made
    # The row is locked by this, and read again behind the lock.
    return rows.lock(session, known.id, last_position=Conversation.last_position + 1)
