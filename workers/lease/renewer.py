"""Renews the leases of this process' jobs, and stops those that were cancelled or that another worker has taken over."""

import os
import signal
import threading
import time

import structlog

from shared.config import Settings
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.jobs import lifecycle
from shared.jobs.lifecycle import LeaseState, Renewal
from workers import clock
from workers.lease.lease import Lease, Stop
from workers.lease.leases import Leases
from workers.log.flusher import Flusher
from workers.loop import Loop

log = structlog.get_logger(__name__)


class LeaseRenewer:
    """Renews the leases of one worker process.

    `steady_since` is the moment by our clock since which every renewal succeeded (None after a failure): a worker that could not
    renew cannot know which others are dead, since a database that was away makes them all look dead.
    """

    def __init__(self, config: Settings, database: Database, loop: Loop, flusher: Flusher, leases: Leases) -> None:
        """Renew nothing yet; `run` does. Nobody else may use this `database`: jobs that end all at once must not cost the others
        their leases.
        """
        self.steady_since: float | None = None
        self._renewed_at = clock.seconds()
        self._config = config
        self._database = database
        self._loop = loop
        self._flusher = flusher
        self._leases = leases

    def is_steady(self) -> bool:
        """Return whether every renewal of a whole lease has succeeded, so that a worker that looks dead is dead."""
        now, since, lease_seconds = clock.seconds(), self.steady_since, self._config.lease_seconds
        return since is not None and now - since > lease_seconds and now - self._renewed_at < lease_seconds

    def run(self, stopped: threading.Event) -> None:
        """Renew until stopped. An error that is not expected ends the process: one that renews nothing must claim nothing."""
        while not stopped.wait(self._config.renew_seconds):
            try:
                self.renew()
            except DatabaseUnavailable as error:
                self.steady_since = None
                log.warning("lease.not_renewed", error=str(error.__cause__))
            except Exception:  # the boundary of a thread, and of the process: it must not run jobs whose leases lapse
                log.critical("lease.broken", exc_info=True)
                os.kill(os.getpid(), signal.SIGKILL)

    def renew(self) -> None:
        """Renew all leases once, unless the event loop is stuck.

        Raises:
            DatabaseUnavailable: nothing was renewed.
        """
        silent_seconds = time.monotonic() - self._loop.ticked
        if silent_seconds > self._config.lease_seconds / 2:
            self.steady_since = None
            log.warning("lease.loop_stuck", seconds=silent_seconds)
        else:
            self._renew_all()

    def _renew_all(self) -> None:
        before = clock.seconds()
        if before - self._renewed_at > self._config.lease_seconds:
            self.steady_since = None
        states = {lease: lease.state for lease in self._leases.all()}
        lease_ms = int(self._config.lease_seconds * 1000)
        with self._database.write() as session:
            renewals = lifecycle.renew(session, list(states.values()), lease_ms=lease_ms, epoch=self._flusher.epoch)
        self._renewed_at = before
        self.steady_since = self.steady_since or before
        for lease, state in states.items():
            self._apply(lease, state, renewals.get(state.job_id), before + self._config.lease_seconds)
        self._loop.call(self._flusher.resume)

    def _apply(self, lease: Lease, state: LeaseState, renewal: Renewal | None, ends_at: float) -> None:
        if renewal is not None:
            if renewal.is_renewed:
                lease.ends_at, lease.renewed_seq = ends_at, state.log_seq
            if renewal.is_cancelled and not lease.is_changing:
                lease.stop(Stop.CANCELLED)
        elif not lease.is_changing and lease.attempt == state.attempt and lease.stop_reason is not Stop.LOST:
            log.warning("lease.lost", job=state.job_id, attempt=state.attempt)
            lease.stop(Stop.LOST)
