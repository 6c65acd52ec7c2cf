"""Readers to test with: each follows a job in a thread of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from api.jobs.jobs import Jobs
from api.streaming.follower import HEARTBEAT
from api.streaming.hub import Hub
from api.streaming.job_logs import JobLogs
from api.streaming.places import Places
from api.streaming.reader_presence import ReaderPresence
from dev.testing.stack import wait_until
from shared.config import Settings
from shared.database import Database
from shared.events import Event
from shared.models import Job
from shared.redis import redis_clients
from tests.integration.recorded_queue import RecordedQueue

SOON_SECONDS = 5.0


@dataclass(frozen=True)
class ReadingProcess:
    """The parts of an API process that readers use."""

    database: Database
    hub: Hub
    job_logs: JobLogs
    jobs: Jobs


@contextmanager
def reading(config: Settings, database: Database) -> Iterator[ReadingProcess]:
    """What one API process holds."""
    with redis_clients.subscriber(config.redis_url) as subscriber, redis_clients.blocking(config.redis_url) as client:
        hub = Hub(subscriber)
        job_logs = JobLogs(database, client, hub, ReaderPresence(client, hub, 0), Places(100, 1000), config.heartbeat_seconds)
        jobs = Jobs(config, database, client, RecordedQueue(config), job_logs)
        yield ReadingProcess(database, hub, job_logs, jobs)
        hub.close()
        if hub._thread is not None:
            hub._thread.join(SOON_SECONDS)
            assert not hub._thread.is_alive()


def readers_of(hub: Hub) -> int:
    """Count a hub's readers."""
    with hub._lock:
        return sum(map(len, hub._subscriptions.values()))


class Reader:
    """A client that follows a job, and what it has seen."""

    def __init__(self, process: ReadingProcess, job: Job, cursor: int = 0) -> None:
        """Begin to read."""
        self.events: list[Event] = []
        self.heartbeats = 0
        self.error: BaseException | None = None
        self._stream = process.job_logs.follow(job, cursor)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self._stream:
                if event is HEARTBEAT:
                    self.heartbeats += 1
                else:
                    self.events.append(event)
        except BaseException as error:
            self.error = error
            raise

    @property
    def seqs(self) -> list[int]:
        """The numbers, in the order they came."""
        return [event.seq for event in self.events]

    @property
    def is_reading(self) -> bool:
        """Whether the stream has not ended."""
        return self._thread.is_alive()

    def has_seen(self, last: int, seconds: float = SOON_SECONDS) -> Self:
        """Wait until this number was seen."""
        wait_until(lambda: self.events and self.events[-1].seq >= last, f"event {last} after {self.seqs[-3:]}", seconds)
        return self

    def ended(self, seconds: float = SOON_SECONDS) -> list[Event]:
        """Wait for the end of the stream, and tell all that was seen."""
        self._thread.join(seconds)
        assert not self.is_reading, f"still reading after {self.seqs[-3:]}"
        assert self.error is None
        return self.events
