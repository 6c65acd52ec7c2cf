"""The one way in: check, save conversation, message and job in one transaction, then ring. Every route and dialect uses it."""

from dataclasses import replace

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.http.limits import Limits
from api.jobs import idempotency, saving, turns
from api.jobs.admission import Admission
from api.jobs.idempotency import Key
from api.jobs.saving import Bounds, NewJob
from api.jobs.submission import Submission, check_length
from shared.config import Settings
from shared.database import Database
from shared.errors import DatabaseUnavailable, QueueFull, RateLimited
from shared.ids import new_id
from shared.json_types import JsonObject
from shared.models import Job
from shared.models.base import MODEL_CHARS
from shared.queue import Queue

log = structlog.get_logger(__name__)


class Submitter:
    """Accepts jobs."""

    def __init__(self, config: Settings, database: Database, queue: Queue, limits: Limits) -> None:
        """Keep the parts."""
        self._config = config
        self._database = database
        self._queue = queue
        self._limits = limits
        self._admission = Admission(config, database)

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
            job = self._save(user_id, submission, key)
        except (RateLimited, QueueFull):
            if key is not None and key.renews:
                self._forget(user_id, key)
            raise
        except IntegrityError:
            if key is not None and (earlier := self._replayed(user_id, key)):
                return earlier  # which another request has saved since our look
            # Its key's time was over, its conversation's name was just taken, or its user is gone.
            job = self._save_locked(user_id, submission, key)
        self._admission.note(user_id)
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

    def _save(self, user_id: str, submission: Submission, key: Key | None) -> Job:
        """Save a job: without a count where few jobs wait, else behind the exact ones."""
        bounds = self._admission.bounds(user_id)
        for _ in range(2):
            try:
                return self._save_unlocked(user_id, submission, key, bounds)
            except _NotSaved:
                if not self._admission.is_far_from_full(user_id):
                    break
                bounds = None
        return self._save_locked(user_id, submission, key)

    def _save_unlocked(self, user_id: str, submission: Submission, key: Key | None, bounds: Bounds | None) -> Job:
        if self._database.is_sqlite or (submission.turn and submission.place.conversation_id is not None):
            with self._database.write() as session:
                return _saved(session.connection(), self._new_job(session, user_id, submission, key), bounds)
        with self._database.statement() as connection:
            return _saved(connection, self._new_job(None, user_id, submission, key), bounds)

    def _save_locked(self, user_id: str, submission: Submission, key: Key | None) -> Job:
        """Save a job behind the exact counts, and in place of a key whose time is over."""
        with self._database.write() as session:
            self._admission.check(session, user_id)
            if key is not None:
                idempotency.forget(session, user_id, key)
            return _saved(session.connection(), self._new_job(session, user_id, submission, key))

    def _new_job(self, session: Session | None, user_id: str, submission: Submission, key: Key | None) -> NewJob:
        """Return the rows of a job; a session is needed only for a turn of a conversation that may exist."""
        job: JsonObject = {
            "id": new_id("job"),
            "user_id": user_id,
            "conversation_id": None,
            "position": None,
            "user_message_id": None,
            "answer_id": None,
            "kind": submission.kind,
            "model": submission.model or None,
            "request": submission.stored_request(),
            "on_interrupt": submission.on_interrupt,
            "labels": submission.metadata,
            "wire": submission.wire,
            "wire_request": submission.wire_request,
            "stored": submission.stored,
        }
        new = NewJob(job, self._config.default_model, int(self._config.job_deadline_seconds * 1000))
        if key is not None:
            row = {"user_id": user_id, "key": key.name, "body_hash": key.digest, "job_id": job["id"]}
            new = replace(new, key=row, key_renews=key.renews)
        return turns.taken(session, new, user_id, submission) if submission.turn else new


class _NotSaved(Exception):
    """No job was saved, since too many wait for a save without a count, or since the user is gone."""


def _saved(connection: Connection, new: NewJob, bounds: Bounds | None = None) -> Job:
    job = saving.save(connection, new, bounds)
    if job is None:
        raise _NotSaved
    return job
