"""The jobs that this process holds, and how each is told to stop."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from shared.events import DELTA
from shared.jobs.lifecycle import Held
from shared.models import Job
from workers.lease import clock
from workers.log.job_log import JobLog, LogLost
from workers.loop import Loop

CANCEL_MEMORY_SECONDS = 30.0
"""A cancel that arrives while its job is being claimed is remembered this long."""


class Stop(StrEnum):
    """Why a job is told to stop."""

    CANCELLED = "cancelled"  # Its owner asked for it.
    LOST = "lost"  # Another worker holds it now.
    DRAINED = "drained"  # This worker is shutting down.


class Lease:
    """One job in this process' hands, for one attempt after another.

    `is_changing` says that a thread is changing the attempt in the database, so that a renewal that finds the old one gone means
    nothing. `renewed_seq` is how far the row knows that readers may have read. `claimed` is the moment of the claim by our clock
    (seconds), `claimed_ms` by the database's.
    """

    def __init__(self, job: Job, loop: Loop, *, claimed: float, lease_seconds: float) -> None:
        """Take a job that was just claimed."""
        assert job.lease_until_ms is not None
        self.job = job
        self.attempt = job.attempt
        self.lease_end = claimed + lease_seconds
        self.log: JobLog | None = None
        self.is_changing = False
        self.stopped = threading.Event()
        self.reason: Stop | None = None
        self.first_token_ms: int | None = None
        self.renewed_seq = job.log_seq
        self._claimed = claimed
        self._claimed_ms = job.lease_until_ms - int(lease_seconds * 1000)
        self._loop = loop
        self._task: asyncio.Task[object] | None = None

    def now_ms(self) -> int:
        """Tell the time by the database's clock, as far as this process knows it."""
        return self._claimed_ms + int((clock.seconds() - self._claimed) * 1000)

    @property
    def seconds_left(self) -> float:
        """How long until the job's deadline."""
        return (self.job.deadline_ms - self.now_ms()) / 1000

    @property
    def held(self) -> Held:
        """What a renewal says of this job."""
        log = self.log  # once: the loop may replace it meanwhile
        seq = max(log.last_seq if log else 0, self.job.log_seq)
        return Held(self.job.id, self.attempt, seq, is_open=log is not None and log.is_open)

    @property
    def knows_its_log(self) -> bool:
        """Whether all that earlier attempts wrote is in memory; before that, only a first attempt can be ended."""
        return self.attempt == 1 or (self.log is not None and self.log.is_open)

    @property
    def has_shown_text(self) -> bool:
        """Whether readers hold text that a new attempt would take back."""
        return self.log is not None and any(event.type == DELTA for event in self.log.entries)

    @contextmanager
    def changing(self, *, for_good: bool = False) -> Iterator[None]:
        """Change the attempt in the database; `for_good`: this process lets go of the job."""
        self.is_changing = True
        yield
        self.is_changing = for_good

    def stop(self, reason: Stop) -> None:
        """Tell the job to stop; from any thread. The first reason counts, but losing the job beats all."""
        if self.reason is None or reason is Stop.LOST:
            self.reason = reason
        self.stopped.set()
        self._loop.call(self._interrupt)

    def enter(self) -> None:
        """Let `stop` interrupt the coroutine that calls this."""
        self._task = asyncio.current_task()
        self.check()

    def check(self) -> None:
        """Stop here if the job was told to stop: before Python 3.12 a library's `asyncio.wait_for` can swallow a cancel."""
        if self.reason is not None:
            raise asyncio.CancelledError

    def leave(self) -> None:
        """The coroutine that called `enter` has ended."""
        self._task = None

    def _interrupt(self) -> None:
        if self.reason is Stop.LOST and self.log is not None:
            self.log.fail(LogLost())
        if self._task is not None:
            self._task.cancel()


class Leases:
    """All of this process' holds. Threads, the event loop and the keeper share it."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._holds: dict[str, Lease] = {}
        self._draining = False
        self._cancels: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, hold: Lease) -> None:
        """Register a job that was just claimed; a cancel or a drain that was faster than this takes effect now.

        This process may have claimed what it held itself, from before a pause: the earlier attempt is lost.
        """
        with self._lock:
            displaced = self._holds.get(hold.job.id)
            self._holds[hold.job.id] = hold
            cancelled = hold.job.id in self._cancels
        if displaced:
            displaced.stop(Stop.LOST)
        if cancelled:
            hold.stop(Stop.CANCELLED)
        elif self._draining:
            hold.stop(Stop.DRAINED)

    def remove(self, hold: Lease) -> None:
        """Forget a job, unless it is a later attempt's."""
        with self._lock:
            if self._holds.get(hold.job.id) is hold:
                del self._holds[hold.job.id]

    def all(self) -> Sequence[Lease]:
        """List what is held now."""
        with self._lock:
            return list(self._holds.values())

    def drain(self) -> None:
        """Stop all jobs, also those whose claim is only just coming back."""
        with self._lock:
            self._draining = True
            holds = list(self._holds.values())
        for hold in holds:
            hold.stop(Stop.DRAINED)

    def cancel(self, job_id: str) -> None:
        """Stop a job if it is held here, also if its claim is only just coming back."""
        now = time.monotonic()
        with self._lock:
            self._cancels = {job: at for job, at in self._cancels.items() if now - at < CANCEL_MEMORY_SECONDS}
            self._cancels[job_id] = now
            hold = self._holds.get(job_id)
        if hold:
            hold.stop(Stop.CANCELLED)
