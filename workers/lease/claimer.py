"""Claims the next job for this process, and registers its lease."""

from shared.config import Settings
from shared.database import Database
from shared.jobs import claiming
from workers import clock
from workers.lease.lease import Lease
from workers.lease.leases import Leases
from workers.lease.renewer import LeaseRenewer
from workers.log.flusher import Flusher
from workers.loop import Loop


class Claimer:
    """Claims jobs in the name of one worker process, its owner."""

    def __init__(
        self, config: Settings, database: Database, loop: Loop, flusher: Flusher, leases: Leases, renewer: LeaseRenewer, owner: str
    ) -> None:
        """Keep what a claim needs; `owner` is the process' id, `renewer` knows whether this worker is steady."""
        self._config = config
        self._database = database
        self._loop = loop
        self._flusher = flusher
        self._leases = leases
        self._renewer = renewer
        self._owner = owner

    def claim(self) -> Lease | None:
        """Claim the next job and return its lease; None when there is none.

        Raises:
            DatabaseUnavailable: nothing was claimed; or the answer was lost, and the lease lapses.
        """
        before = clock.seconds()
        with self._database.write() as session:
            job = claiming.claim(
                session,
                self._owner,
                lease_ms=int(self._config.lease_seconds * 1000),
                epoch=self._flusher.seen_epoch or "",
                max_lost_workers=self._config.max_lost_workers,
                max_running=self._config.max_running_jobs,
                orphans=self._renewer.is_steady(),
            )
        if job is None:
            return None
        lease = Lease(job, self._loop, claimed_at=before, lease_seconds=self._config.lease_seconds)
        self._leases.add(lease)
        return lease
