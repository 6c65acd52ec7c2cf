"""How many jobs may wait: a bound for each user, and one for all.

Nothing here grows with the queue. Where few jobs wait, which the saving statement itself sees, a job is simply saved. Where many
do, a count that is remembered for a second tells whether the bound is far. Only near it jobs are counted exactly, behind the lock
of the user's row, so that a user's submissions of the same moment cannot together pass the bound.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.auth.remembered import Remembered
from api.jobs.saving import Bounds
from shared.config import Settings
from shared.database import Database
from shared.errors import QueueFull, RateLimited, Unauthorized
from shared.jobs import claiming
from shared.models import User

RETRY_AFTER_SECONDS = 5
"""When a user whose queue is full may come back."""
LOOK_JOBS = 64
"""So far the saving statement itself counts."""


@dataclass
class _Count:
    jobs: int


class Admission:
    """The bounds of one API process. What others add within a second is not seen, except near a bound."""

    def __init__(self, config: Settings, database: Database) -> None:
        """Count nothing yet."""
        self._database = database
        self._max_of_user = config.max_queued_jobs
        self._max_of_all = config.max_queue
        self._counts: Remembered[_Count] = Remembered()

    def bounds(self, user_id: str) -> Bounds | None:
        """Return how many jobs may wait for one more to be saved without a further look; None where the last look was enough."""
        if self._is_far(self._counts.get(user_id), self._counts.get(None)):
            return None
        return Bounds(min(self._max_of_user // 2, LOOK_JOBS), min(self._max_of_all // 2, LOOK_JOBS))

    def is_far_from_full(self, user_id: str) -> bool:
        """Return whether less than half of what may wait does."""
        return self._is_far(self._count(user_id, self._max_of_user // 2), self._count(None, self._max_of_all // 2))

    def note(self, user_id: str) -> None:
        """Add a job that was just saved to what is remembered."""
        for who in (user_id, None):
            if known := self._counts.get(who):
                known.jobs += 1

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
        if _queued(session, self._max_of_all) >= self._max_of_all:
            raise QueueFull

    def _is_far(self, of_user: _Count | None, of_all: _Count | None) -> bool:
        if of_user is None or of_all is None:
            return False
        return of_user.jobs < self._max_of_user // 2 and of_all.jobs < self._max_of_all // 2

    def _count(self, who: str | None, limit: int) -> _Count:
        known = self._counts.get(who)
        if known is None:
            with self._database.read() as session:
                known = _Count(_queued(session, limit, who))
            self._counts.put(who, known)
        return known


def _queued(session: Session, limit: int, user_id: str | None = None) -> int:
    """Return the number of queued jobs, of a user or of all, counted no further than the limit."""
    some = claiming.waiting_jobs(user_id).limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0
