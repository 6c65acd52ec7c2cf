"""One attempt at an answer, on the event loop: open the log, ask the provider, append what it says."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

import redis.asyncio
import structlog

from shared import events
from shared.config import Settings
from shared.events import Event
from shared.jobs import ending
from shared.jobs.ending import Ending
from shared.log import stream
from shared.log.opening import opening
from shared.models import OnInterrupt, Status
from workers.lease.lease import Lease, Stop
from workers.log.flusher import Flusher
from workers.log.job_log import JobLog, LogLost, LogMoved
from workers.providers.base import COUNTS, Chunk, CompletionRequest, Provider, ProviderError, wait_until

ACKNOWLEDGE_SECONDS = 5.0
"""How long an end waits for Redis. After that the row is written anyway: it holds the log."""
AWAY_SECONDS = 0.5
MAX_AHEAD_EVENTS = events.LOG_LOST_JUMP // 2
AHEAD_POLL_SECONDS = 0.05

CUT_SHORT = frozenset({"length", "content_filter"})
"""Finish reasons that mean that there was more to say."""

log = structlog.get_logger(__name__)


class Stopped(NamedTuple):
    """The attempt was told to stop."""

    reason: Stop


Outcome = Ending | Stopped | ProviderError


class AttemptRunner:
    """Runs attempts for one worker process. Everything here runs on the event loop."""

    def __init__(self, config: Settings, client: "redis.asyncio.Redis", flusher: Flusher, provider: Provider) -> None:
        """Prepare."""
        self._config = config
        self._redis = client
        self._flusher = flusher
        self._provider = provider
        self._running_expiry_ms = int((config.job_deadline_seconds + config.log_ttl_seconds) * 1000)
        self._ended_expiry_ms = int(config.log_ttl_seconds * 1000)

    async def attempt(self, hold: Lease, question: CompletionRequest, reason: str) -> Outcome:
        """Make one attempt; `reason` is why there was one before. Never raises what the job can be told."""
        try:
            hold.enter()
            return await self._bounded(hold, question, reason)
        except asyncio.CancelledError:
            if hold.reason is None:
                raise
            return Stopped(hold.reason)
        except LogLost:
            return Stopped(Stop.LOST)
        except ProviderError as error:
            return error
        finally:
            hold.leave()

    async def _bounded(self, hold: Lease, question: CompletionRequest, reason: str) -> Ending:
        try:
            async with asyncio.timeout(max(hold.seconds_left, 0)) as deadline:
                if await self._open(hold, reason):
                    hold.check()
                    return await self._listen(hold, question)
                return ending.failed(reason, "The answer was interrupted, and was not to be restarted.")
        except TimeoutError:
            if not deadline.expired() and hold.seconds_left > 0:
                raise
            return ending.failed("deadline_exceeded", "The job was not over by its deadline.")

    async def _open(self, hold: Lease, reason: str) -> bool:
        """Append the attempt's first event, and wait until Redis has it: from then on it refuses the attempt before.

        Returns:
            whether to go on; not so when text was shown that must not be taken back.
        """
        while True:
            found, trusted = await self._found(hold)
            first = opening(
                found,
                attempt=hold.attempt,
                model=hold.job.model,
                reason=reason,
                log_seq=hold.job.log_seq,
                trusted=trusted,
            )
            is_lost = first.is_legal_jump
            must_end = hold.job.on_interrupt is OnInterrupt.FAIL and (is_lost or any(event.type == events.DELTA for event in found))
            if must_end and not is_lost:
                hold.log = hold.log or self._log(hold, found, None)
                return False
            hold.log = self._log(hold, found, first)
            self._flusher.hold(hold.log)
            try:
                await hold.log.flushed()
            except LogMoved:
                hold.log = None
            else:
                return not must_end

    def _log(self, hold: Lease, found: list[Event], first: Event | None) -> JobLog:
        return JobLog(
            hold.job.id,
            hold.attempt,
            found,
            first,
            expiry_ms=self._running_expiry_ms,
            lease_end=hold.lease_end,
            last_seq=hold.log.last_seq if hold.log else None,
        )

    async def _found(self, hold: Lease) -> tuple[list[Event], bool]:
        """Tell the log so far, and whether it can be trusted.

        Our own memory can. A job that was given back tells exactly how far its log was written. The log of an owner that is lost is
        only sure to be whole if Redis has lived on since that owner saw it whole.
        """
        if hold.log is not None:
            return hold.log.entries, True
        if hold.attempt == 1:
            return [], True
        while True:
            hold.check()
            try:
                found = await self._read(hold.job.id)
                now = await self._flusher.ask_epoch()  # after the look: a Redis that was emptied in between is found out
                return found, hold.job.requeued_for != events.WORKER_LOST or now == hold.job.log_epoch
            except (redis.RedisError, OSError) as error:
                log.warning("log.redis_away", job=hold.job.id, error=str(error))
                await asyncio.sleep(AWAY_SECONDS)

    async def _read(self, job_id: str) -> list[Event]:
        found: list[Event] = []
        reply: Any = await self._redis.execute_command(*stream.read_command(job_id))
        while reply:
            found += stream.entries(reply)
            reply = await self._redis.execute_command(*stream.next_page_command(job_id, found[-1]))
        return found

    async def _listen(self, hold: Lease, question: CompletionRequest) -> Ending:
        """Append each delta as it comes, until the provider has ended."""
        assert hold.log is not None
        reason, usage, origin = None, None, None
        async with aclosing(self._provider.answer(question)) as said, aclosing(self._watched(said)) as pieces:
            async for piece in pieces:
                if piece.delta and _says_something(piece.delta):
                    await self._within_jump(hold, hold.log)
                    self._append(hold, hold.log, piece.delta)
                if hold.log.bytes > self._config.max_log_bytes:
                    return Ending(Status.INCOMPLETE, "length")
                reason, usage, origin = piece.finish_reason or reason, piece.usage or usage, piece.origin or origin
        status = Status.INCOMPLETE if reason in CUT_SHORT else Status.COMPLETED
        return Ending(status, reason, usage=_counted(usage), origin=origin)

    async def _within_jump(self, hold: Lease, joblog: JobLog) -> None:
        """Do not run further ahead of what the row knows than a lost log would make a successor jump."""
        while joblog.entries[-1].seq - hold.renewed_seq > MAX_AHEAD_EVENTS:
            hold.check()
            await asyncio.sleep(AHEAD_POLL_SECONDS)

    def _append(self, hold: Lease, joblog: JobLog, delta: dict[str, Any]) -> None:
        if joblog.is_lost:
            raise LogLost
        hold.check()
        if hold.seconds_left <= 0:
            raise TimeoutError  # as a stop can be swallowed (`Lease.check`), so can the deadline's cancel
        hold.first_token_ms = hold.first_token_ms or hold.now_ms()
        joblog.append(events.DELTA, {"delta": delta})
        self._flusher.touch(joblog)

    async def _watched(self, said: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """Pass pieces on, and give up on a provider that falls silent."""
        loop, whole = asyncio.get_running_loop(), False
        try:
            async with asyncio.timeout(self._config.stall_seconds) as silence:
                async for piece in said:
                    if silence.expired():
                        raise TimeoutError  # its cancel was swallowed (`Lease.check`)
                    whole = piece.is_last(whole)
                    wait_until(silence, None)  # what keeps us from writing is no silence of the provider
                    yield piece
                    wait_until(silence, loop.time() + self._config.stall_seconds)
        except TimeoutError:
            if not silence.expired():
                raise
            if whole:
                return  # only the usage is missing, or the goodbye
            message = f"The provider was silent for {self._config.stall_seconds:g} s."
            raise ProviderError(message, code="provider_stalled", retryable=True) from None

    async def flush(self, hold: Lease) -> bool:
        """Wait until Redis has every event, but not for long. Tells whether it is known to have all that was ever shown."""
        if hold.log is None:
            return hold.attempt == 1
        try:
            async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                await hold.log.flushed()
        except (TimeoutError, LogLost, LogMoved) as error:
            log.warning("log.not_flushed", job=hold.job.id, attempt=hold.attempt, error=type(error).__name__)
            return False
        return True

    async def close(self, hold: Lease, terminal: Event) -> bool:
        """Append the terminal event. Tells whether Redis has it; if not, a sweep will see to it."""
        hold.log = hold.log or self._log(hold, [], None)
        hold.log.close(terminal, self._ended_expiry_ms)
        self._flusher.hold(hold.log)
        await self.flush(hold)
        return not hold.log.pending and not hold.log.is_lost

    async def remove(self, hold: Lease) -> None:
        """Let the job's log go, and remove it."""
        await self.release(hold)
        try:
            await self._redis.execute_command(*stream.remove_command(hold.job.id))
        except (redis.RedisError, OSError) as error:
            log.warning("remove.redis_away", job=hold.job.id, error=str(error))  # its expiry takes it

    async def release(self, hold: Lease) -> None:
        """Let the job's log go: nothing more is written, and nothing is under way."""
        if hold.log is not None:
            await self._flusher.release(hold.log)


def _says_something(delta: dict[str, Any]) -> bool:
    return any(value for name, value in delta.items() if name != "role")


def _counted(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    """The provider's own count, in our fields."""
    if usage is None:
        return None
    details = {name: usage[name] for name in ending.DETAILS if isinstance(usage.get(name), dict)}
    return {**{name: usage.get(name) or 0 for name in COUNTS}, **details, "estimated": False}
