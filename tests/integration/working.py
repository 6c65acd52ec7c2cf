"""The parts of a worker process, with a provider that follows a script."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import cast

from shared.config import Settings
from shared.database import Database
from shared.redis import redis_clients
from tests.integration.recorded_queue import RecordedQueue
from workers.lease.claimer import Claimer
from workers.lease.leases import Leases
from workers.lease.renewer import LeaseRenewer
from workers.log.flusher import Flusher
from workers.loop import Loop
from workers.providers.base import Chunk, CompletionRequest, ProviderError
from workers.providers.moderation import Moderation
from workers.providers.routing import Routing
from workers.run.attempt import AttemptRunner
from workers.run.closings import Closings
from workers.run.job import JobRunner

ENDLESS_SECONDS = 60.0

POLL_SECONDS = 0.01

Step = str | Chunk | ProviderError | float | threading.Event | None


class ScriptedProvider:
    """Answers each call as its script says: with a text, a whole chunk, an error, a pause, or one until an event is set; None waits
    until the connection is closed.
    """

    def __init__(self, *scripts: list[Step]) -> None:
        """Keep the scripts, one for each call; the last is for all that follow."""
        self._scripts = list(scripts) or [["Hello", Chunk(finish_reason="stop")]]
        self.requests: list[CompletionRequest] = []
        self.has_begun = threading.Event()
        self.closed = 0

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Answer as the script says."""
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(request)
        try:
            for step in script:
                match step:
                    case ProviderError():
                        raise step
                    case str():
                        yield Chunk({"content": step})
                    case Chunk():
                        yield step
                    case threading.Event():
                        self.has_begun.set()
                        while not step.is_set():
                            await asyncio.sleep(POLL_SECONDS)
                    case _:
                        self.has_begun.set()
                        await asyncio.sleep(ENDLESS_SECONDS if step is None else step)
        finally:
            self.closed += 1


class WorkerParts:
    """One worker process' parts."""

    def __init__(self, config: Settings, database: Database, provider: ScriptedProvider) -> None:
        """Put them together on a loop of their own."""
        self.config = config
        self.leases = Leases()
        self.loop = Loop()
        self.provider = provider
        self.queue = RecordedQueue(config)
        self._database = database
        self.loop.run(self._build())

    async def _build(self) -> None:
        self._client = redis_clients.nonblocking(self.config.redis_url)
        self.flusher = Flusher(self._client, "worker_1", self.config.renew_seconds)
        self.renewer = LeaseRenewer(self.config, self._database, self.loop, self.flusher, self.leases)
        self.renewer.steady_since = 0.0  # it has renewed for long, and may take over
        self.claimer = Claimer(self.config, self._database, self.loop, self.flusher, self.leases, self.renewer, "worker_1")
        routing = Routing(self.provider, self.provider, cast("Moderation", None), self.provider, moderate=False)
        attempts = AttemptRunner(self.config, self._client, self.flusher, routing)
        self._blocking = redis_clients.blocking(self.config.redis_url)
        self.closings = Closings(self._database, self._blocking, self.queue)
        self.jobs = JobRunner(
            self.config, self._database, self.queue, self.loop, self.leases, self.claimer, attempts, self.closings
        )

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Flush, tick and renew."""
        stopped = threading.Event()
        for forever in (self.flusher.run, self.flusher.tick):
            self.loop.start(forever())
        renewing = threading.Thread(target=self.renewer.run, args=(stopped,))
        renewing.start()
        try:
            yield
        finally:
            stopped.set()
            renewing.join()
            self.loop.run(self.loop.cancel_all())  # or else a flusher might open one more connection behind the close
            self.loop.run(self._client.aclose())
            self._blocking.close()
            self.loop.stop()

    @contextmanager
    def running(self, seconds: float = 20) -> Iterator[None]:
        """Run the next job in a thread of its own, to its end."""
        failures: list[BaseException] = []

        def run(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)
                raise

        thread = threading.Thread(target=run, args=(self.jobs.run_next,), daemon=True)
        thread.start()
        yield
        thread.join(seconds)
        assert not thread.is_alive(), "the job does not end"
        assert failures == []
        self.closings.record()


@contextmanager
def working(config: Settings, database: Database, *scripts: list[Step]) -> Iterator[WorkerParts]:
    """A worker process' parts, at work."""
    worker = WorkerParts(config, database, ScriptedProvider(*scripts))
    with worker.at_work():
        yield worker
