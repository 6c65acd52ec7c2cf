"""All leases of this process, by job: where a cancel, a drain or a renewal finds the job that it means."""

import threading
import time
from collections.abc import Sequence

from workers.lease.lease import Lease, Stop

CANCEL_MEMORY_SECONDS = 30.0
"""A cancel that arrives while its job is being claimed is remembered this long."""


class Leases:
    """The leases that this process holds. Threads, the event loop and the renewer share it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._leases: dict[str, Lease] = {}
        self._draining = False
        self._cancels: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, lease: Lease) -> None:
        """Register a job that was just claimed; a cancel or a drain that was faster than this takes effect now.

        After a pause this process may have claimed a job whose lease it had itself: that earlier lease is lost.
        """
        with self._lock:
            displaced = self._leases.get(lease.job_id)
            self._leases[lease.job_id] = lease
            cancelled = lease.job_id in self._cancels
        if displaced:
            displaced.stop(Stop.LOST)
        if cancelled:
            lease.stop(Stop.CANCELLED)
        elif self._draining:
            lease.stop(Stop.DRAINED)

    def remove(self, lease: Lease) -> None:
        """Forget a job that is over, or another worker's; a later lease of the same job stays."""
        with self._lock:
            if self._leases.get(lease.job_id) is lease:
                del self._leases[lease.job_id]

    def all(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        with self._lock:
            return list(self._leases.values())

    def drain(self) -> None:
        """Stop all jobs, also those whose claim is under way."""
        with self._lock:
            self._draining = True
            leases = list(self._leases.values())
        for lease in leases:
            lease.stop(Stop.DRAINED)

    def cancel(self, job_id: str) -> None:
        """Stop a job if it is held here, or as soon as its claim, which is under way, comes back."""
        now = time.monotonic()
        with self._lock:
            self._cancels = {job: at for job, at in self._cancels.items() if now - at < CANCEL_MEMORY_SECONDS}
            self._cancels[job_id] = now
            lease = self._leases.get(job_id)
        if lease:
            lease.stop(Stop.CANCELLED)
