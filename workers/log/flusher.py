"""Brings the pending events of all jobs to Redis: one coroutine, one pipeline, one round trip at a time.

While a round trip is under way events gather, and for some milliseconds after it began: so batches grow with the load,
jobs share the cost of a round trip, and a lone token is sent at once.
"""

import asyncio
from itertools import starmap
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import NoPermissionError, NoScriptError, RedisError

from shared.log import epoch, stream
from shared.log.stream import Write, WriteVerdict
from shared.redis import worker_presence
from workers import clock
from workers.log.job_log import JobLog, LogLost

ROUND_SECONDS = 0.005
"""From the beginning of one round trip to that of the next, at least."""
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Flusher:
    """Writes the logs of this process. Lives on the event loop.

    `is_away` says whether Redis did not answer the last look. `seen_epoch` is Redis' epoch at that look, `epoch` the one in which
    every log was found whole, or None. Redis' clock is sampled at each tick, so that a write can say until when it is valid: a
    process that was stopped between the check of its lease and the write does no harm.
    """

    def __init__(self, client: "redis.asyncio.Redis", worker_id: str, tick_seconds: float) -> None:
        """Write nothing yet; `run` and `tick` do the work."""
        self.epoch: str | None = None
        self.seen_epoch: str | None = None
        self.is_away = False
        self._client = client
        self._worker_id = worker_id
        self._tick_seconds = tick_seconds
        self._logs: dict[str, JobLog] = {}
        self._dirty: dict[str, JobLog] = {}
        self._wake = asyncio.Event()
        self._round = asyncio.Lock()
        self._clock_offset_us: int | None = None

    def add(self, joblog: JobLog) -> None:
        """Write a log from now on, in place of an earlier one of the same job."""
        self._logs[joblog.lease.job_id] = joblog
        self.mark_pending(joblog)

    def drop(self, joblog: JobLog) -> None:
        """Write a log no more; a write that is under way still arrives. A later lease's log of the same job stays."""
        for logs in (self._logs, self._dirty):
            if logs.get(joblog.lease.job_id) is joblog:
                del logs[joblog.lease.job_id]

    async def release(self, joblog: JobLog) -> None:
        """Write a log no more; nothing of it is under way once this returns."""
        async with self._round:
            self.drop(joblog)

    def mark_pending(self, joblog: JobLog) -> None:
        """Note that a log has something to write, and write it soon."""
        if self._logs.get(joblog.lease.job_id) is joblog:
            self._dirty[joblog.lease.job_id] = joblog
            self._wake.set()

    def resume(self) -> None:
        """Go on with the logs that had to wait for their leases to be renewed."""
        for joblog in self._logs.values():
            if joblog.pending:
                self.mark_pending(joblog)

    async def run(self) -> None:
        """Flush for ever."""
        backoff, begun = BACKOFF_FIRST_SECONDS, 0.0
        while True:
            await self._wake.wait()
            if (early := begun + ROUND_SECONDS - clock.seconds()) > 0:
                await asyncio.sleep(early)
            begun = clock.seconds()
            self._wake.clear()
            batch, self._dirty = self._dirty, {}
            try:
                await self._flush(list(batch.values()))
                backoff = BACKOFF_FIRST_SECONDS
            except (RedisError, OSError) as error:
                log.warning("log.redis_away", error=str(error), logs=len(batch))
                self._clock_offset_us = None
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, BACKOFF_MAX_SECONDS)
                for joblog in batch.values():
                    self.mark_pending(joblog)

    async def tick(self) -> None:
        """Look at every log's tail now and then, so that a wipe during silence is repaired; show that this worker is alive."""
        while True:
            try:
                await self.look()
                self.is_away = False
            except NoPermissionError:
                raise  # refused for good: this worker must not wait for it as for one that is away
            except (RedisError, OSError) as error:
                self.is_away = True
                self.epoch = self._clock_offset_us = None
                log.warning("log_check.redis_away", error=str(error))
            await asyncio.sleep(self._tick_seconds)

    async def look(self) -> None:
        """Look at every log's tail once, learn in which epoch Redis is, and sample its clock."""
        self.seen_epoch = await self.read_epoch()
        await self.show_alive(await self._sample_clock())
        whole = await self._flush(list(self._logs.values()))
        self.epoch = self.seen_epoch if whole else None

    async def show_alive(self, now_seconds: int) -> None:
        """Note in Redis, at this moment of its clock, that there is a worker."""
        async with self._client.pipeline(transaction=False) as pipe:
            for command in worker_presence.note_commands(self._worker_id, now_seconds):
                pipe.execute_command(*command)
            await pipe.execute()

    async def read_epoch(self) -> str:
        """Read in which epoch Redis is, and begin one if it was emptied."""
        word = await self._marked_epoch()
        if word is None:
            await self._client.execute_command(*epoch.mark_command())
            word = await self._marked_epoch()
        return epoch.required(word)

    async def _marked_epoch(self) -> str | None:
        return epoch.from_replies([await self._client.execute_command(*command) for command in epoch.COMMANDS])

    async def _sample_clock(self) -> int:
        """Learn how Redis' clock relates to ours, erring towards an earlier end of every lease; return it, in seconds."""
        seconds, microseconds = await self._client.time()
        self._clock_offset_us = int(seconds) * 1_000_000 + int(microseconds) - int(clock.seconds() * 1_000_000)
        return int(seconds)

    async def _flush(self, logs: list[JobLog]) -> bool:
        """Write what is pending, and look at the tail where nothing is; return whether every log was found as it should be."""
        async with self._round:
            if self._clock_offset_us is None:
                await self._sample_clock()
            now = clock.seconds()
            ready = [(joblog, joblog.write(self._lease_us(joblog))) for joblog in logs if self._may_write(joblog, now)]
            is_whole = len(ready) == len(logs) and all(starmap(_covers, ready))
            replies = await self._send([write for _, write in ready])
            answered = zip(ready, replies, strict=True)
            verdicts = [self.settle(*written, reply) for written, reply in answered if not isinstance(reply, Exception)]
            if refused := [reply for reply in replies if isinstance(reply, Exception)]:
                raise refused[0]  # only now, so that one log does not delay the others
            return is_whole and all(verdict is WriteVerdict.OK for verdict in verdicts)

    def _may_write(self, joblog: JobLog, now: float) -> bool:
        ours = self._logs.get(joblog.lease.job_id) is joblog
        return ours and not joblog.is_lost and (joblog.closing or now < joblog.lease.ends_at)

    def _lease_us(self, joblog: JobLog) -> int:
        if joblog.closing:
            return 0
        assert self._clock_offset_us is not None
        return int(joblog.lease.ends_at * 1_000_000) + self._clock_offset_us

    async def _send(self, writes: list[Write]) -> list[Any]:
        if not writes:
            return []
        replies = await self._pipeline(writes)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            await self._client.script_load(stream.WRITE_SCRIPT)
            replies = await self._pipeline(writes)
        return replies

    async def _pipeline(self, writes: list[Write]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for write in writes:
                pipe.execute_command(*write.command(by_sha=True))
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies

    def settle(self, joblog: JobLog, write: Write, reply: Any) -> WriteVerdict:
        """Do what the script's reply to a write asks for, and return its verdict."""
        verdict, tail = stream.written(reply)
        if verdict is WriteVerdict.OK:
            joblog.confirm(write)
        elif verdict is WriteVerdict.HOLE:
            log.warning("log.hole", job=joblog.lease.job_id, attempt=joblog.lease.attempt, tail=tail)
            joblog.repair(tail)
        elif verdict is not WriteVerdict.LAPSED:
            log.warning("log.refused", job=joblog.lease.job_id, attempt=joblog.lease.attempt, verdict=verdict.value, tail=tail)
            joblog.fail(LogLost())
        if joblog.pending and not joblog.is_lost and verdict is not WriteVerdict.LAPSED:
            self.mark_pending(joblog)
        return verdict


def _covers(joblog: JobLog, write: Write) -> bool:
    """Return whether a log is whole in Redis once a write is there: a long one is written in several."""
    return write.rewrite or joblog.acked + len(write.entries) == len(joblog.entries)
