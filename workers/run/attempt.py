"""One attempt at an answer, on the event loop: open the log, ask the provider, append each delta, wait until Redis has it all."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import redis.asyncio
import structlog

from shared import events
from shared.config import Settings
from shared.events import Event
from shared.jobs import ending
from shared.jobs.ending import Ending
from shared.json_types import JsonObject
from shared.log import stream
from shared.log.opening import opening
from shared.models import OnInterrupt, Status
from shared.models.error_codes import JobErrorCode
from workers.lease.lease import Lease, Stop
from workers.log.flusher import Flusher
from workers.log.job_log import JobLog, LogLost, LogMoved
from workers.providers.base import COUNTS, CUT_SHORT, Chunk, CompletionRequest, Provider, ProviderError
from workers.run.silence import unless_silent

ACKNOWLEDGE_SECONDS = 5.0
"""How long an attempt's end waits for Redis. After that the row is written anyway: it has the log."""
AWAY_SECONDS = 0.5
MAX_AHEAD_EVENTS = events.LOG_LOST_JUMP // 2
AHEAD_POLL_SECONDS = 0.05

log = structlog.get_logger(__name__)


class Stopped(NamedTuple):
    """The result of an attempt that was stopped."""

    reason: Stop


AttemptResult = Ending | Stopped | ProviderError


class ReleasedLog(NamedTuple):
    """What is known of a log that is not written any more: whether Redis has all that was ever shown, and in which epoch if so."""

    is_whole: bool
    epoch: str | None


class AttemptRunner:
    """Runs attempts for one worker process. Everything here runs on the event loop."""

    def __init__(self, config: Settings, client: "redis.asyncio.Redis", flusher: Flusher, provider: Provider) -> None:
        """Keep what attempts need; nothing runs yet."""
        self._config = config
        self._redis = client
        self._flusher = flusher
        self._provider = provider
        self._running_expiry_ms = int((config.job_deadline_seconds + config.log_ttl_seconds) * 1000)
        self._ended_expiry_ms = int(config.log_ttl_seconds * 1000)

    async def run(self, lease: Lease, request: CompletionRequest, reason: str) -> AttemptResult:
        """Make one attempt, and wait (not for long) until Redis has all of it.

        Args:
            lease: the job, and the attempt that the database has counted.
            request: the completion request.
            reason: why there was an attempt before, if there was.
        """
        try:
            return await self._interruptible(lease, request, reason)
        finally:
            if lease.stop_reason is not Stop.LOST:
                await self._flush(lease)

    async def _interruptible(self, lease: Lease, request: CompletionRequest, reason: str) -> AttemptResult:
        try:
            lease.enter()
            return await self._until_deadline(lease, request, reason)
        except asyncio.CancelledError:
            if lease.stop_reason is None:
                raise
            return Stopped(lease.stop_reason)
        except LogLost:
            return Stopped(Stop.LOST)
        except ProviderError as error:
            return error
        finally:
            lease.leave()

    async def _until_deadline(self, lease: Lease, request: CompletionRequest, reason: str) -> Ending:
        try:
            async with asyncio.timeout(max(lease.seconds_left, 0)) as deadline:
                if await self._open(lease, reason):
                    lease.check()
                    return await self._listen(lease, request)
                return ending.failed(JobErrorCode(reason), "The answer was interrupted, and was not to be restarted.")
        except TimeoutError:
            if not deadline.expired() and lease.seconds_left > 0:
                raise
            return ending.failed(JobErrorCode.DEADLINE_EXCEEDED, "The job was not over by its deadline.")

    async def _open(self, lease: Lease, reason: str) -> bool:
        """Append the attempt's first event, and wait until Redis has it: from then on it refuses the attempt before.

        Returns:
            whether to go on; not so when text was shown that must not be taken back.
        """
        job = lease.job
        while True:
            found, trusted = await self._log_so_far(lease)
            first = opening(found, attempt=lease.attempt, model=job.model, reason=reason, log_seq=job.log_seq, trusted=trusted)
            is_lost = first.is_legal_jump
            has_text = any(event.type == events.DELTA for event in found)
            must_end = job.on_interrupt is OnInterrupt.FAIL and (is_lost or has_text)
            lease.log = lease.log or JobLog(lease, found, expiry_ms=self._running_expiry_ms)
            if must_end and not is_lost:
                return False
            lease.log.add(first)
            self._flusher.add(lease.log)
            try:
                await lease.log.flushed()
            except LogMoved:
                self._forget_log(lease, lease.log)
            else:
                return not must_end

    async def _log_so_far(self, lease: Lease) -> tuple[Sequence[Event], bool]:
        """Return the log so far, and whether it can be trusted.

        Our own memory can. The row of a job that was given back knows exactly how far its log was written. The log of an owner that
        is lost is only known to be whole if Redis is still in the epoch in which that owner saw it whole.
        """
        if lease.log is not None:
            return lease.log.entries, True
        if lease.attempt == 1:
            return [], True
        while True:
            lease.check()
            try:
                found = await self._read(lease.job_id)
                now = await self._flusher.read_epoch()  # after the look: a Redis that was emptied in between is found out
                return found, lease.job.requeued_for != events.WORKER_LOST or now == lease.job.log_epoch
            except (redis.RedisError, OSError) as error:
                log.warning("log_read.redis_away", job=lease.job_id, error=str(error))
                await asyncio.sleep(AWAY_SECONDS)

    async def _read(self, job_id: str) -> list[Event]:
        found: list[Event] = []
        reply: Any = await self._redis.execute_command(*stream.read_command(job_id))
        while reply:
            found += stream.entries(reply)
            reply = await self._redis.execute_command(*stream.next_page_command(job_id, found[-1]))
        return found

    async def _listen(self, lease: Lease, request: CompletionRequest) -> Ending:
        """Append each delta as it comes, until the provider has ended."""
        assert lease.log is not None
        reason, usage, origin = None, None, None
        patience = self._config.stall_seconds, self._config.first_token_seconds
        async with aclosing(self._provider.answer(request)) as answer, aclosing(unless_silent(answer, *patience)) as chunks:
            async for chunk in chunks:
                if chunk.has_content() or chunk.choice_reason:
                    await self._wait_for_renewal(lease, lease.log)
                    self._append(lease, lease.log, _fields(chunk))
                if lease.log.bytes > self._config.max_log_bytes:
                    return Ending(Status.INCOMPLETE, "length")
                reason, usage, origin = chunk.finish_reason or reason, chunk.usage or usage, chunk.origin or origin
        status = Status.INCOMPLETE if reason in CUT_SHORT else Status.COMPLETED
        return Ending(status, reason, usage=_provider_usage(usage), origin=origin)

    async def _wait_for_renewal(self, lease: Lease, joblog: JobLog) -> None:
        """Wait while the log is so far ahead of what the row knows that, if it were lost, a successor's jump might not pass it."""
        while joblog.entries[-1].seq - lease.renewed_seq > MAX_AHEAD_EVENTS:
            lease.check()
            await asyncio.sleep(AHEAD_POLL_SECONDS)

    def _append(self, lease: Lease, joblog: JobLog, fields: JsonObject) -> None:
        if joblog.is_lost:
            raise LogLost
        lease.check()
        if lease.seconds_left <= 0:
            raise TimeoutError  # as a stop can be swallowed (`Lease.check`), so can the deadline's cancel
        lease.first_token_ms = lease.first_token_ms or lease.now_ms()
        joblog.append(events.DELTA, fields)
        self._flusher.mark_pending(joblog)

    async def _flush(self, lease: Lease) -> bool:
        """Wait until Redis has every event, but not for long; return whether it has."""
        if lease.log is None:
            return False
        try:
            async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                await lease.log.flushed()
        except LogMoved:
            self._forget_log(lease, lease.log)
            return False
        except (TimeoutError, LogLost) as error:
            log.warning("log.not_flushed", job=lease.job_id, attempt=lease.attempt, error=type(error).__name__)
            return False
        return True

    def _forget_log(self, lease: Lease, joblog: JobLog) -> None:
        """Forget a log that was read too early: nothing may be built on it."""
        self._flusher.drop(joblog)
        lease.log = None

    async def close(self, lease: Lease, terminal: Event) -> bool:
        """Append the terminal event; return whether Redis has it. If not, a sweep appends it."""
        lease.log = lease.log or JobLog(lease, [], expiry_ms=self._ended_expiry_ms)
        lease.log.close(terminal, self._ended_expiry_ms)
        self._flusher.add(lease.log)
        return await self._flush(lease)

    async def release(self, lease: Lease) -> ReleasedLog:
        """Write the job's log no more, and return what is known of it: nothing of it is under way once this returns."""
        if lease.log is None:
            is_whole = lease.attempt == 1  # then nothing was ever shown
        else:
            await self._flusher.release(lease.log)
            is_whole = not lease.log.pending and not lease.log.is_lost
        return ReleasedLog(is_whole, self._flusher.epoch if is_whole else None)


def _fields(chunk: Chunk) -> JsonObject:
    """Return the fields of a delta's event; only those of answers with several choices, or with logprobs, have more than it."""
    fields: JsonObject = {"delta": chunk.delta or {}}
    if chunk.logprobs:
        fields["logprobs"] = chunk.logprobs
    if chunk.choice:
        fields["choice"] = chunk.choice
    if chunk.choice_reason:
        fields["choice_reason"] = chunk.choice_reason
    return fields


def _provider_usage(usage: JsonObject | None) -> JsonObject | None:
    """Return the provider's own count, in our fields."""
    if usage is None:
        return None
    details = {name: usage[name] for name in ending.DETAILS if isinstance(usage.get(name), dict)}
    return {**{name: usage.get(name) or 0 for name in COUNTS}, **details, "estimated": False}
