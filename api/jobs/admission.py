"""How many jobs may wait: a bound for each user, and one for all.

Nothing here grows with the queue. Where few jobs wait, which the saving statement itself sees, a job is simply saved. Where many
do, a count that is remembered for a second tells whether the bound is far. Only near it jobs are counted exactly, behind the lock
of the user's row, so that a user's submissions of the same moment cannot together pass the bound.
"""

import threading
import time
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.orm import Session

from api.jobs.saving import Bounds
from shared.config import Settings
from shared.database import Database
from shared.errors import QueueFull, RateLimited, Unauthorized
from shared.models import Job, User
from shared.models.job import is_waiting

RETRY_AFTER_SECONDS = 5
"""When a user whose queue is full may come back."""
LOOK_JOBS = 64
"""So far the saving statement itself counts."""
REMEMBERED_SECONDS = 1.0
REMEMBERED_USERS = 10_000

_QUEUED: ColumnElement[str] = literal_column("'queued'")


class _Count(NamedTuple):
    jobs: int
    until: float


class Admission:
    """The bounds of one API process. What others add within a second is not seen, except near a bound."""

    def __init__(self, config: Settings, database: Database) -> None:
        """Count nothing yet."""
        self._database = database
        self._max_of_user = config.max_queued_jobs
        self._max_of_all = config.max_queue
        self._counts: dict[str | None, _Count] = {}
        self._lock = threading.Lock()

    def bounds(self, user_id: str) -> Bounds | None:
        """Return how many jobs may wait for one more to be saved without a further look; None where the last look was enough."""
        if self._is_far(self._remembered(user_id), self._remembered(None)):
            return None
        return Bounds(min(self._max_of_user // 2, LOOK_JOBS), min(self._max_of_all // 2, LOOK_JOBS))

    def is_far_from_full(self, user_id: str) -> bool:
        """Return whether less than half of what may wait does."""
        return self._is_far(self._count(user_id, self._max_of_user // 2), self._count(None, self._max_of_all // 2))

    def _is_far(self, of_user: int | None, of_all: int | None) -> bool:
        if of_user is None or of_all is None:
            return False
        return of_user < self._max_of_user // 2 and of_all < self._max_of_all // 2

    def note(self, user_id: str) -> None:
        """Add a job that was just saved to what is remembered."""
        with self._lock:
            for who in (user_id, None):
                if known := self._counts.get(who):
                    self._counts[who] = known._replace(jobs=known.jobs + 1)

    def check(self, session: Session, user_id: str) -> None:
        """Check the exact counts, and let no other job of this user in until the transaction ends.

        Raises:
            RateLimited: the user has too many jobs waiting.
            QueueFull: all users together have.
            Unauthorized: the user is gone.
        """
        if session.scalar(select(User.id).where(User.id == user_id).with_for_update(key_share=True)) is None:
            raise Unauthorized("This account is gone.")
        if _queued(session, self._max_of_user, user_id) >= self._max_of_user:
            message = f"{self._max_of_user} of your jobs are waiting already."
            raise RateLimited(message, retry_after_seconds=RETRY_AFTER_SECONDS, code="too_many_queued_jobs")
        if _queued(session, self._max_of_all, None) >= self._max_of_all:
            raise QueueFull

    def _remembered(self, who: str | None) -> int | None:
        known = self._counts.get(who)
        return None if known is None or known.until < time.monotonic() else known.jobs

    def _count(self, who: str | None, limit: int) -> int:
        remembered = self._remembered(who)
        if remembered is not None:
            return remembered
        with self._database.read() as session:
            count = _queued(session, limit, who)
        with self._lock:
            if len(self._counts) >= REMEMBERED_USERS:
                self._counts.clear()
            self._counts[who] = _Count(count, time.monotonic() + REMEMBERED_SECONDS)
        return count


def _queued(session: Session, limit: int, user_id: str | None) -> int:
    """Return the number of queued jobs, of a user or of all, counted no further than the limit."""
    of_all = select(Job.id).where(Job.status == _QUEUED).order_by(Job.created_ms)
    of_user = select(Job.id).where(Job.user_id == user_id, is_waiting()).order_by(Job.user_id, Job.created_ms)
    some = (of_all if user_id is None else of_user).limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0
