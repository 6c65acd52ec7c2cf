"""Run one job, from its claim to its terminal state.

A thread of Celery's pool does this: it talks to the database and waits, idle, while the event loop talks to the model. No database
connection is held meanwhile. What may go wrong at each step, and why nothing is lost then, is section 3 of docs/protocol.md.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from shared import events
from shared.config import Settings
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.jobs import ending, held_ending, lifecycle
from shared.jobs.ending import Ending
from shared.json_types import JsonObject
from shared.models import OnInterrupt
from shared.models.error_codes import JobErrorCode
from shared.queue import Queue
from workers.lease.claimer import Claimer
from workers.lease.lease import Lease, Stop
from workers.lease.leases import Leases
from workers.loop import Loop
from workers.prompt import builder
from workers.providers.base import CompletionRequest, ProviderError
from workers.run import retry
from workers.run.attempt import AttemptRunner, Stopped
from workers.run.closings import Closings

RESULT_SECONDS = 600.0
"""How long a result is kept and written again while the database is away. After that the job is left to be taken over."""
RESULT_AGAIN_SECONDS = 1.0

T = TypeVar("T")
Prompt = list[JsonObject]

log = structlog.get_logger(__name__)


class JobRunner:
    """Runs jobs for one worker process."""

    def __init__(
        self,
        config: Settings,
        database: Database,
        queue: Queue,
        loop: Loop,
        leases: Leases,
        claimer: Claimer,
        attempts: AttemptRunner,
        closings: Closings,
    ) -> None:
        """Keep what jobs need; nothing runs yet."""
        self._config = config
        self._database = database
        self._queue = queue
        self._loop = loop
        self._leases = leases
        self._claimer = claimer
        self._attempts = attempts
        self._closings = closings

    def run_next(self) -> None:
        """Answer the doorbell: claim the job that is next, and run it to its end. No job: return quietly."""
        lease = self._claimer.claim()
        if lease is None:
            return
        with structlog.contextvars.bound_contextvars(job=lease.job_id):
            log.info("job.claimed", attempt=lease.attempt)
            try:
                self._run(lease)
            except Exception:
                # The task's boundary. In every worker that took the job over the same would happen, at the provider's price.
                log.exception("job.broken", attempt=lease.attempt)
                self._end(lease, ending.failed(JobErrorCode.INTERNAL_ERROR, "Something went wrong on our side."), [])
            finally:
                self._loop.run(self._attempts.release(lease))
                self._leases.remove(lease)

    def _run(self, lease: Lease) -> None:
        request = self._until_answered(lease, lambda: self._request(lease))
        if request is None:
            return None
        prompt = request.messages
        reason = lease.job.requeued_for or events.WORKER_LOST
        while True:
            result = self._loop.run(self._attempts.run(lease, request, reason))
            if isinstance(result, Ending):
                return self._end(lease, result, prompt)
            if isinstance(result, Stopped):
                return self._stop(lease, result.reason, prompt)
            if not self._try_again(lease, result, prompt):
                return None
            reason = events.PROVIDER_ERROR

    def _request(self, lease: Lease) -> CompletionRequest:
        with self._database.read() as session:
            return builder.completion_request(session, lease.job, self._config)

    def _stop(self, lease: Lease, reason: Stop, prompt: Prompt) -> None:
        log.info("job.stopped", attempt=lease.attempt, reason=reason.value)
        if reason is Stop.LOST:
            return
        if reason is Stop.CANCELLED and lease.knows_its_log:
            self._end(lease, ending.CANCELLED, prompt)
        else:
            # Drained; or cancelled before the log of the attempts before could be read: then a sweep ends it.
            self._give_back(lease, events.DRAINED)

    def _try_again(self, lease: Lease, error: ProviderError, prompt: Prompt) -> bool:
        """Begin the next attempt in place; return whether there is one. Otherwise the job is ended, or given back."""
        log.warning("provider.error", attempt=lease.attempt, code=error.reason, status=error.http_status, error=error.message)
        wait_seconds = retry.wait_seconds(
            error,
            lease.provider_errors,
            max_tries=self._config.max_tries,
            down_seconds=self._config.provider_down_seconds,
            seconds_left=lease.seconds_left,
        )
        if wait_seconds is None or (lease.job.on_interrupt is OnInterrupt.FAIL and lease.has_shown_text):
            self._end(lease, ending.refused(error.fields()), prompt)
        elif wait_seconds > retry.WAIT_IN_PLACE_SECONDS:
            self._give_back(lease, events.PROVIDER_ERROR, wait_seconds, error)
        elif lease.stop_requested.wait(wait_seconds) and lease.stop_reason is not None:
            self._stop(lease, lease.stop_reason, prompt)
        else:
            return self._begin_next_attempt(lease, error)
        return False

    def _begin_next_attempt(self, lease: Lease, error: ProviderError) -> bool:
        """Raise the attempt in the database, then in the lease; return whether the job is still ours."""
        attempt, errors = lease.attempt, lease.provider_errors
        with lease.changing():
            is_ours = self._written(lease, lambda session: lifecycle.retry(session, lease.job_id, attempt, errors, error.fields()))
            if is_ours:
                lease.begin_next_attempt()
            else:
                log.warning("job.retry_refused", attempt=attempt)
        return bool(is_ours)

    def _give_back(self, lease: Lease, reason: str, wait_seconds: float = 0.0, error: ProviderError | None = None) -> None:
        """Put the job back into the queue, and ring for it unless it has to wait.

        Where Redis may lack events that readers have seen, the next attempt must judge the log as if this worker had died.
        """
        released = self._loop.run(self._attempts.release(lease))
        reason = reason if released.is_whole else events.WORKER_LOST
        with lease.changing(for_good=True):
            is_queued = self._written(
                lease,
                lambda session: lifecycle.give_back(
                    session,
                    lease.state,
                    reason=reason,
                    epoch=released.epoch,
                    wait_ms=int(wait_seconds * 1000),
                    error=error.fields() if error else None,
                ),
            )
        if is_queued:
            log.info("job.given_back", attempt=lease.attempt, reason=reason, wait_seconds=wait_seconds)
        if is_queued and not wait_seconds:
            self._queue.ring(lease.job_id)

    def _end(self, lease: Lease, how: Ending, prompt: Prompt) -> None:
        """Write the end: the row, then the terminal event; then ring for a job that may have waited for this one.

        While the log of earlier attempts has not been read, the lease is left to lapse instead: the next worker reads it.
        """
        if lease.log is None and lease.attempt > 1:
            log.warning("job.left_to_lapse", attempt=lease.attempt)
            return
        how = replace(how, first_token_ms=lease.first_token_ms)
        with lease.changing(for_good=True):
            end, most = held_ending.end, self._config.max_running_jobs
            ended = self._until_answered(
                lease, lambda: end(self._database, lease.job, lease.attempt, lease.events, how, prompt, most)
            )
        if ended is None:
            log.warning("job.taken_over", attempt=lease.attempt)
            return
        log.info("job.ended", attempt=lease.attempt, status=ended.terminal.type, events=ended.terminal.seq)
        if self._loop.run(self._attempts.close(lease, ended.terminal)):
            self._closings.add(lease.job, has_rung=ended.waiting_id is not None)
        if ended.waiting_id:
            self._queue.ring(ended.waiting_id)

    def _written(self, lease: Lease, work: Callable[[Session], T]) -> T | None:
        def write() -> T:
            with self._database.write() as session:
                return work(session)

        return self._until_answered(lease, write)

    def _until_answered(self, lease: Lease, work: Callable[[], T]) -> T | None:
        """Call the database again and again while it is away; return None when it stayed away for too long."""
        until = time.monotonic() + RESULT_SECONDS
        while True:
            try:
                return work()
            except DatabaseUnavailable as error:
                log.warning("job.database_away", attempt=lease.attempt, error=str(error.__cause__))
                if time.monotonic() > until:
                    return None
                time.sleep(RESULT_AGAIN_SECONDS)
