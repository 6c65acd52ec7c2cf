"""One running job of this process: its attempt, its lease's end, its log, why it is to stop. Each is kept here, and only here."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from shared.events import DELTA, Event
from shared.jobs.lifecycle import LeaseState
from shared.models import Job
from workers import clock
from workers.log.job_log import JobLog, LogLost
from workers.loop import Loop


class Stop(StrEnum):
    """Why a job is to stop."""

    CANCELLED = "cancelled"  # Its user requested it.
    LOST = "lost"  # Another worker holds it now.
    DRAINED = "drained"  # This worker is shutting down.


class Lease:
    """The right to run one job, for one attempt after another.

    `job` is the row as it was claimed, and never changes. What changes while the job runs is kept here and nowhere else:

    - `attempt` and `provider_errors`, as the database has counted them;
    - `ends_at`, seconds by `workers/clock.py`: after it nothing may be appended until a renewal says otherwise;
    - `log`, None until the attempt has read what there is;
    - `renewed_seq`: how far the row knows that readers may have read;
    - `stop_reason`, None while the job may go on.

    `is_changing` says that a thread is changing the attempt in the database, so that a renewal that finds the old one gone means
    nothing.
    """

    def __init__(self, job: Job, loop: Loop, *, claimed_at: float, lease_seconds: float) -> None:
        """Begin the lease of a job that was just claimed; `claimed_at` is a moment by our clock before the claim was sent."""
        assert job.lease_until_ms is not None
        self.job = job
        self.attempt = job.attempt
        self.provider_errors = job.provider_errors
        self.ends_at = claimed_at + lease_seconds
        self.log: JobLog | None = None
        self.renewed_seq = job.log_seq
        self.first_token_ms: int | None = None
        self.stop_reason: Stop | None = None
        self.stop_requested = threading.Event()
        self.is_changing = False
        self._claimed_at = claimed_at
        self._claimed_ms = job.lease_until_ms - int(lease_seconds * 1000)
        self._loop = loop
        self._task: asyncio.Task[object] | None = None

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.job.id

    def now_ms(self) -> int:
        """Return the time by the database's clock, as far as this process knows it (milliseconds since 1970)."""
        return self._claimed_ms + int((clock.seconds() - self._claimed_at) * 1000)

    @property
    def seconds_left(self) -> float:
        """How long until the job's deadline."""
        return (self.job.deadline_ms - self.now_ms()) / 1000

    @property
    def state(self) -> LeaseState:
        """What the database records of this lease when it is renewed or given back."""
        log = self.log  # once: the loop may replace it meanwhile
        seq = max(log.last_seq if log else 0, self.job.log_seq)
        return LeaseState(self.job_id, self.attempt, seq, is_open=log is not None and log.is_open)

    @property
    def events(self) -> Sequence[Event]:
        """Every event of the job so far, as this process knows them."""
        return self.log.entries if self.log else ()

    @property
    def knows_its_log(self) -> bool:
        """Whether all that earlier attempts wrote is in memory; before that, only a first attempt can be ended."""
        return self.attempt == 1 or (self.log is not None and self.log.is_open)

    @property
    def has_shown_text(self) -> bool:
        """Whether readers have seen text that a new attempt would take back."""
        return any(event.type == DELTA for event in self.events)

    @contextmanager
    def changing(self, *, for_good: bool = False) -> Iterator[None]:
        """Let the caller change the attempt in the database; `for_good`: if that works, this process gives up the job."""
        self.is_changing = True
        is_over = False
        try:
            yield
            is_over = for_good
        finally:
            self.is_changing = is_over

    def begin_next_attempt(self) -> None:
        """Note that the database has counted an error of the provider, and raised the attempt for us."""
        self.provider_errors += 1
        self.attempt += 1

    def stop(self, reason: Stop) -> None:
        """Stop the job; from any thread. The first reason counts, but losing the job beats all."""
        if self.stop_reason is None or reason is Stop.LOST:
            self.stop_reason = reason
        self.stop_requested.set()
        self._loop.call(self._interrupt)

    def enter(self) -> None:
        """Let `stop` interrupt the coroutine that calls this."""
        self._task = asyncio.current_task()
        self.check()

    def check(self) -> None:
        """Stop here if the job is to stop: before Python 3.12 a library's `asyncio.wait_for` can swallow a cancel.

        Raises:
            CancelledError: it was.
        """
        if self.stop_reason is not None:
            raise asyncio.CancelledError

    def leave(self) -> None:
        """Note that the coroutine that called `enter` has ended, and is not to be interrupted any more."""
        self._task = None

    def _interrupt(self) -> None:
        if self.stop_reason is Stop.LOST and self.log is not None:
            self.log.fail(LogLost())
        if self._task is not None:
            self._task.cancel()
