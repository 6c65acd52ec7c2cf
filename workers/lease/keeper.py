"""Keeps what this process holds: renews the leases of the jobs that are alive, and lets go of those that are lost."""

import os
import signal
import threading
import time

import structlog

from shared.config import Settings
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.jobs import lifecycle
from shared.jobs.lifecycle import Held, Renewal
from shared.models import Job
from workers.lease import clock
from workers.lease.lease import Lease, Leases, Stop
from workers.log.flusher import Flusher
from workers.loop import Loop

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Claims jobs for one worker process and renews its leases.

    `steady_since` is the moment by our clock since which every renewal succeeded (None after a failure): a worker that could not
    renew cannot know who is dead, since a database that was away makes everybody look dead.
    """

    def __init__(
        self, config: Settings, database: Database, renewals: Database, loop: Loop, flusher: Flusher, holds: Leases, owner: str
    ) -> None:
        """Prepare; `run` renews. `renewals` is a way to the database that nobody else is in: jobs that end all at once must not
        cost the others their leases.
        """
        self.steady_since: float | None = None
        self._renewed = clock.seconds()
        self._config = config
        self._database = database
        self._renewals = renewals
        self._loop = loop
        self._flusher = flusher
        self._holds = holds
        self._owner = owner
        self._lease_ms = int(config.lease_seconds * 1000)

    def is_steady(self) -> bool:
        """Tell whether every renewal of a whole lease has succeeded, so that whoever looks dead is dead."""
        now, since = clock.seconds(), self.steady_since
        return since is not None and now - since > self._config.lease_seconds and now - self._renewed < self._config.lease_seconds

    def claim(self) -> Lease | None:
        """Take the next job and hold it; None when there is none."""
        before = clock.seconds()
        with self._database.write() as session:
            job = lifecycle.claim(
                session,
                self._owner,
                lease_ms=self._lease_ms,
                epoch=self._flusher.seen_epoch or "",
                max_lost_workers=self._config.max_lost_workers,
                max_running=self._config.max_running_jobs,
                orphans=self.is_steady(),
            )
        return self._take(job, before) if job else None

    def _take(self, job: Job, claimed: float) -> Lease:
        hold = Lease(job, self._loop, claimed=claimed, lease_seconds=self._config.lease_seconds)
        self._holds.add(hold)
        return hold

    def release(self, hold: Lease) -> None:
        """Let go of a job that is over, or somebody else's."""
        self._holds.remove(hold)

    def run(self, stopped: threading.Event) -> None:
        """Renew until stopped. What is not to be expected ends the process: one that renews nothing must claim nothing."""
        while not stopped.wait(self._config.renew_seconds):
            try:
                self._renew_if_alive()
            except DatabaseUnavailable as error:
                self.steady_since = None
                log.warning("lease.not_renewed", error=str(error.__cause__))
            except Exception:
                log.critical("lease.broken", exc_info=True)
                os.kill(os.getpid(), signal.SIGKILL)

    def _renew_if_alive(self) -> None:
        silent_seconds = time.monotonic() - self._loop.ticked
        if silent_seconds > self._config.lease_seconds / 2:
            self.steady_since = None
            log.warning("lease.loop_stuck", seconds=silent_seconds)
            return
        self._renew()

    def _renew(self) -> None:
        before = clock.seconds()
        if before - self._renewed > self._config.lease_seconds:
            self.steady_since = None
        asked = {hold: hold.held for hold in self._holds.all()}
        with self._renewals.write() as session:
            kept = lifecycle.renew(session, list(asked.values()), lease_ms=self._lease_ms, epoch=self._flusher.epoch)
        self._renewed = before
        self.steady_since = self.steady_since or before
        lease_end = before + self._config.lease_seconds
        renewed = [job_id for job_id, renewal in kept.items() if renewal.is_renewed]
        self._loop.call(self._flusher.extend, dict.fromkeys(renewed, lease_end))
        for hold, said in asked.items():
            self._judge(hold, said, kept.get(said.job_id), lease_end)

    def _judge(self, hold: Lease, said: Held, renewal: Renewal | None, lease_end: float) -> None:
        if renewal is not None:
            if renewal.is_renewed:
                hold.lease_end, hold.renewed_seq = lease_end, said.log_seq
            if renewal.is_cancelled and not hold.is_changing:
                hold.stop(Stop.CANCELLED)
        elif not hold.is_changing and hold.attempt == said.attempt and hold.reason is not Stop.LOST:
            log.warning("lease.lost", job=said.job_id, attempt=said.attempt)
            hold.stop(Stop.LOST)
