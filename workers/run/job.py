"""Run one job, from its claim to its terminal state.

A thread of Celery's pool does this: it talks to the database and waits, idle, while the event loop talks to the model. No database
connection is held meanwhile. What may go wrong at each step, and why nothing is lost then, is section 3 of docs/protocol.md.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import structlog
from sqlalchemy.orm import Session

from shared import events
from shared.config import Settings
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.events import Event
from shared.jobs import ending, lifecycle
from shared.jobs.ending import Ending
from shared.models import Job, OnInterrupt
from shared.queue import Queue
from workers.lease.keeper import LeaseKeeper
from workers.lease.lease import Lease, Stop
from workers.log.flusher import Flusher
from workers.loop import Loop
from workers.prompt import builder
from workers.providers.base import ProviderError
from workers.run import retry
from workers.run.attempt import AttemptRunner, Stopped

RESULT_SECONDS = 600.0
"""How long a result is kept and written again while the database is away. After that the job is left to be taken over."""
RESULT_AGAIN_SECONDS = 1.0

T = TypeVar("T")
Prompt = list[dict[str, Any]]

log = structlog.get_logger(__name__)


class JobRunner:
    """Runs jobs for one worker process."""

    def __init__(
        self,
        config: Settings,
        database: Database,
        queue: Queue,
        loop: Loop,
        flusher: Flusher,
        keeper: LeaseKeeper,
        streaming: AttemptRunner,
    ) -> None:
        """Prepare."""
        self._config = config
        self._database = database
        self._queue = queue
        self._loop = loop
        self._flusher = flusher
        self._keeper = keeper
        self._streaming = streaming

    def run_next(self) -> None:
        """Answer the doorbell: claim the job that is next, and carry it to its end. No job: go away quietly."""
        hold = self._keeper.claim()
        if hold is None:
            return
        with structlog.contextvars.bound_contextvars(job=hold.job.id):
            log.info("job.claimed", attempt=hold.attempt)
            try:
                self._carry(hold)
            except Exception:
                # The task's boundary. What went wrong here would go wrong again in every worker, at the provider's price.
                log.exception("job.broken", attempt=hold.attempt)
                self._end(hold, ending.failed("internal_error", "Something went wrong on our side."), [])
            finally:
                self._loop.run(self._streaming.release(hold))
                self._keeper.release(hold)

    def _carry(self, hold: Lease) -> None:
        question = self._surely(hold, lambda session: builder.completion_request(session, hold.job, self._config), reads=True)
        if question is None:
            return None
        prompt = question.messages
        reason = hold.job.requeued_for or events.WORKER_LOST
        while True:
            outcome = self._loop.run(self._streaming.attempt(hold, question, reason))
            if isinstance(outcome, Ending):
                return self._end(hold, outcome, prompt)
            if isinstance(outcome, Stopped):
                return self._stop(hold, outcome.reason, prompt)
            if not self._try_again(hold, outcome, prompt):
                return None
            reason = events.PROVIDER_ERROR

    def _stop(self, hold: Lease, reason: Stop, prompt: Prompt) -> None:
        log.info("job.stopped", attempt=hold.attempt, reason=reason.value)
        if reason is Stop.LOST:
            return
        if reason is Stop.CANCELLED and hold.knows_its_log:
            self._end(hold, ending.CANCELLED, prompt)
        else:
            # Drained; or cancelled before the log of the attempts before could be read: then a sweep ends it.
            self._give_back(hold, events.DRAINED)

    def _try_again(self, hold: Lease, error: ProviderError, prompt: Prompt) -> bool:
        """Begin the next attempt here, if there is to be one here."""
        log.warning("provider.error", attempt=hold.attempt, code=error.reason, status=error.http_status, error=error.message)
        wait_seconds = retry.wait_seconds(
            error, hold.job.provider_errors, max_tries=self._config.max_tries, seconds_left=hold.seconds_left
        )
        if wait_seconds is None or (hold.job.on_interrupt is OnInterrupt.FAIL and hold.has_shown_text):
            self._end(hold, ending.refused(error.fields()), prompt)
        elif wait_seconds > retry.WAIT_IN_PLACE_SECONDS:
            self._give_back(hold, events.PROVIDER_ERROR, wait_seconds, error)
        elif hold.stopped.wait(wait_seconds) and hold.reason is not None:
            self._stop(hold, hold.reason, prompt)
        else:
            return self._raise_attempt(hold, error)
        return False

    def _raise_attempt(self, hold: Lease, error: ProviderError) -> bool:
        with hold.changing():
            errors = hold.job.provider_errors
            held = self._surely(hold, lambda session: lifecycle.retry(session, hold.job.id, hold.attempt, errors, error.fields()))
            hold.attempt += 1
            hold.job.provider_errors += 1
        return bool(held)

    def _give_back(self, hold: Lease, reason: str, wait_seconds: float = 0.0, error: ProviderError | None = None) -> None:
        """Put the job back into the queue, its log flushed, and ring for it unless it has to wait.

        Where the log is not sure to be written, nobody knows how far readers have read: then the job is as good as lost.
        """
        is_whole = self._loop.run(self._streaming.flush(hold))
        self._loop.run(self._streaming.release(hold))
        with hold.changing(for_good=True):
            given = self._surely(
                hold,
                lambda session: lifecycle.give_back(
                    session,
                    hold.held,
                    reason=reason if is_whole else events.WORKER_LOST,
                    epoch=self._flusher.epoch if is_whole else None,
                    wait_ms=int(wait_seconds * 1000),
                    error=error.fields() if error else None,
                ),
            )
        if given and not wait_seconds:
            self._queue.ring(hold.job.id)

    def _end(self, hold: Lease, how: Ending, prompt: Prompt) -> None:
        """Write the end: flushed log, row, terminal event; then ring for whoever waited for it.

        Before the log of the attempts before is read, the job is left to lapse instead: whoever finds it will read it.
        """
        if hold.log is None and hold.attempt > 1:
            log.warning("job.left", attempt=hold.attempt)
            return
        self._loop.run(self._streaming.flush(hold))
        how = replace(how, first_token_ms=hold.first_token_ms)
        with hold.changing(for_good=True):
            entries = hold.log.entries if hold.log else []
            terminal = self._surely(hold, lambda session: ending.end_held(session, hold.job.id, hold.attempt, entries, how, prompt))
        if not terminal:
            log.warning("job.not_ours", attempt=hold.attempt)
            return
        log.info("job.ended", attempt=hold.attempt, status=terminal.type, events=terminal.seq)
        try:
            self._close(hold, terminal)
            self._ring_next(hold.job)
        except DatabaseUnavailable as error:
            log.warning("job.left_to_a_sweep", error=str(error.__cause__))

    def _close(self, hold: Lease, terminal: Event) -> None:
        if self._loop.run(self._streaming.close(hold, terminal)):
            with self._database.write() as session:
                is_there = ending.mark_closed(session, hold.job.id)
            if not is_there:  # it was deleted once it was over, and its last event has brought its log back
                self._loop.run(self._streaming.remove(hold))

    def _ring_next(self, job: Job) -> None:
        with self._database.read() as session:
            waiting = session.scalar(lifecycle.waiting_for(job))
        if waiting:
            self._queue.ring(waiting)

    def _surely(self, hold: Lease, work: Callable[[Session], T], *, reads: bool = False) -> T | None:
        """Write (or read), again and again while the database is away; None when it stayed away for too long."""
        give_up = time.monotonic() + RESULT_SECONDS
        while True:
            try:
                with self._database.read() if reads else self._database.write() as session:
                    return work(session)
            except DatabaseUnavailable as error:
                log.warning("job.database_away", attempt=hold.attempt, error=str(error.__cause__))
                if time.monotonic() > give_up:
                    return None
                time.sleep(RESULT_AGAIN_SECONDS)
