"""Find what was left undone: ring for jobs that were not rung for, end those that must end or are abandoned, close open logs.

Every worker sweeps, at slightly different times; there is no beat process. A sweep does no job itself: it rings, so that capacity
stays with the pool. A message only means that there is work, so no more are sent than are missing in the queue.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import structlog
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import ColumnElement, Select, SQLColumnExpression, or_, select, update

from shared.config import Settings
from shared.database import Database, now_ms, now_once
from shared.errors import DatabaseUnavailable
from shared.jobs import claiming, ending
from shared.jobs.ending import Ending
from shared.models import UNFINISHED, Job, Status, WebhookDelivery
from shared.models.error_codes import JobErrorCode
from shared.queue import DELIVER_TASK, Queue
from shared.redis import keyspace
from workers import pruning
from workers.abandonment import Abandonment

RING_CAP = 200
"""With so many messages in the queue a sweep adds none."""
RING_AGAIN_SECONDS = 3.0
"""A job that was rung for more recently is left alone."""
CLOSE_AFTER_SECONDS = 3.0
"""The worker that ended a job has this long to close its log itself."""
BATCH = 100
PRUNE_SECONDS = 3_600.0
JITTER = 0.3

T = TypeVar("T")

_QUIET = {"synchronize_session": False}

log = structlog.get_logger(__name__)


class _Due(NamedTuple):
    """Which steps of a sweep have work."""

    ring: bool
    deliver: bool
    end: bool
    close: bool


ALL_STEPS = _Due(ring=True, deliver=True, end=True, close=True)


class Sweep:
    """One worker's sweep."""

    def __init__(self, config: Settings, database: Database, redis: Redis, queue: Queue) -> None:
        """Sweep nothing yet; `run` does."""
        self._config = config
        self._database = database
        self._redis = redis
        self._queue = queue
        self._abandonment = Abandonment(database, redis, config.abandoned_seconds, config.sweep_seconds)
        self._prune_at = 0.0

    def run(self, stopped: threading.Event, is_steady: Callable[[], bool]) -> None:
        """Sweep until stopped, whenever this worker is steady: only then can it know whose leases have lapsed."""
        while not stopped.wait(self._config.sweep_seconds * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311 - jitter, no secret
            if is_steady():
                self.once()

    def once(self) -> None:
        """Sweep once. What goes wrong with one job, or in one step, is left to the next sweep and keeps no other waiting.

        One look finds which steps have work: most sweeps of most workers have none. Where the look fails, each step looks itself.
        """
        due = self._guarded(self._look) or ALL_STEPS
        if due.ring:
            self._guarded(self._ring_all)
        if due.deliver:
            self._guarded(self._ring_deliveries)
        for job in (self._guarded(self._jobs_to_end) if due.end else None) or ():
            self._guarded(partial(self._end, job))
        if self._config.abandoned_seconds:
            self._guarded(self._abandonment.cancel)
        for job_id in (self._guarded(self._jobs_to_close) if due.close else None) or ():
            self._guarded(partial(self._close, job_id))
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_SECONDS
            self._guarded(self._prune)

    def _guarded(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except (DatabaseUnavailable, RedisError) as error:
            log.warning("sweep.postponed", error=str(error))
        except Exception:  # the boundary of a thread: without its sweeps a worker would leave jobs of the dead alone
            log.exception("sweep.broken")
        return None

    def _look(self) -> _Due:
        """Find which steps have work, in one statement."""
        steps = (self._unrung_jobs(), _unrung_deliveries(), self._overdue(), _unclosed())
        with self._database.read() as session:
            return _Due._make(session.execute(select(*(step.exists() for step in steps))).one())

    def _ring_all(self) -> None:
        for job_id in self._jobs_to_ring():
            self._queue.ring(job_id)

    def _ring_deliveries(self) -> None:
        """Ring for webhooks that are due and were not rung for lately."""
        candidates = _unrung_deliveries().order_by(WebhookDelivery.due_ms).limit(BATCH).with_for_update(skip_locked=True)
        with self._database.write() as session:
            due = session.scalars(candidates).all()
            if due:
                rung = update(WebhookDelivery).where(WebhookDelivery.id.in_(due)).values(rung_ms=now_ms())
                session.execute(rung, execution_options=_QUIET)
        for delivery_id in due:
            self._queue.send(delivery_id, DELIVER_TASK)

    def _close(self, job_id: str) -> None:
        ending.close_log(self._database, self._redis, job_id, int(self._config.log_ttl_seconds * 1000))

    def _prune(self) -> None:
        log.info("retention.pruned", rows=pruning.prune(self._database, self._config.retention_days, self._config.log_ttl_seconds))

    def _jobs_to_ring(self) -> Sequence[str]:
        missing = RING_CAP - int(self._redis.llen(keyspace.DOORBELL_QUEUE))
        if missing <= 0:
            return []
        candidates = self._unrung_jobs().order_by(Job.created_ms).limit(missing).with_for_update(skip_locked=True)
        with self._database.write() as session:
            # Two statements: PostgreSQL may run a sub-select with a limit more than once, and then it limits nothing.
            due = session.scalars(candidates).all()
            session.execute(update(Job).where(Job.id.in_(due)).values(rung_ms=now_ms()), execution_options=_QUIET)
        return due

    def _unrung_jobs(self) -> Select[str]:
        return select(Job.id).where(claiming.claimable(self._config.max_lost_workers), _not_lately(Job.rung_ms))

    def _jobs_to_end(self) -> Sequence[Job]:
        with self._database.read() as session:
            return session.scalars(self._overdue().order_by(Job.created_ms).limit(BATCH)).all()

    def _overdue(self) -> Select[Job]:
        is_unheld = or_(Job.status == Status.QUEUED, claiming.lapsed())
        too_often = Job.lost_workers >= self._config.max_lost_workers
        must_end = or_(
            Job.cancel_requested_ms.is_not(None), Job.deadline_ms <= now_ms(), (Job.status == Status.IN_PROGRESS) & too_often
        )
        return select(Job).where(Job.status.in_(UNFINISHED), is_unheld, must_end)

    def _end(self, job: Job) -> None:
        how = self._ending(job)
        if ending.end_unheld(self._database, self._redis, job, how, int(self._config.log_ttl_seconds * 1000)):
            log.info("job.ended_by_sweep", job=job.id, attempt=job.attempt + 1, status=how.status.value)

    def _ending(self, job: Job) -> Ending:
        if job.cancel_requested_ms is not None:
            return ending.CANCELLED
        if job.lost_workers >= self._config.max_lost_workers and job.status is Status.IN_PROGRESS:
            return ending.failed(JobErrorCode.WORKER_LOST, f"The job lost {job.lost_workers + 1} workers and was given up.")
        if job.error:
            return ending.refused({"code": job.error["code"], "message": job.error["message"]})
        return ending.failed(JobErrorCode.DEADLINE_EXCEEDED, "The job was not over by its deadline.")

    def _jobs_to_close(self) -> Sequence[str]:
        with self._database.read() as session:
            return session.scalars(_unclosed().limit(BATCH)).all()


def _not_lately(rung_ms: SQLColumnExpression[int | None]) -> ColumnElement[bool]:
    return or_(rung_ms.is_(None), rung_ms < now_once() - int(RING_AGAIN_SECONDS * 1000))


def _unrung_deliveries() -> Select[str]:
    return select(WebhookDelivery.id).where(WebhookDelivery.due_ms <= now_once(), _not_lately(WebhookDelivery.rung_ms))


def _unclosed() -> Select[str]:
    return select(Job.id).where(~Job.log_closed, Job.finished_ms < now_once() - int(CLOSE_AFTER_SECONDS * 1000))
