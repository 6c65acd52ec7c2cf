"""Celery's threads pool, repaired: it flushes acknowledgements while its last jobs drain, and survives terminate and autoscale.

The stock pool (Celery 5.7) keeps the acknowledgements of finished tasks until the *last* task ends, raises on `terminate`, and has
no `grow`. It uses names that are private to its parents; the versions are locked, and a test drains while one job still runs.
"""

import time
from collections.abc import Callable
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult
from celery.concurrency.thread import TaskPool as ThreadPool
from kombu.asynchronous import get_event_loop

DRAIN_POLL_SECONDS = 0.05


class Result(ApplyResult):  # type: ignore[misc]  # celery has no types
    """A running task, as the worker's consumer sees it."""

    def terminate(self, signal: int | None = None) -> None:
        """Do nothing: a job is stopped by its cancel flag, never by its thread."""


class TaskPool(ThreadPool):  # type: ignore[misc]  # celery has no types
    """A pool of threads, each of which waits for one job."""

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> Result:
        """Run a task in a thread."""
        return Result(self.executor.submit(apply_target, target, args, kwargs, callback, accept_callback))

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Do nothing, as above; the stock pool raises, which costs the worker its control channel."""

    def grow(self, n: int = 1) -> None:
        """Allow more threads."""
        self._resize(self.limit + n)

    def shrink(self, n: int = 1) -> None:
        """Allow fewer threads; those that run, run on."""
        self._resize(max(1, self.limit - n))

    def _resize(self, limit: int) -> None:
        self.limit = limit
        self.executor._max_workers = limit  # noqa: SLF001 - an executor has no public way to grow

    def on_stop(self) -> None:
        """Wait for the running tasks, acknowledging each as it ends. The worker's drain bounds the wait."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        hub = get_event_loop()
        while any(thread.is_alive() for thread in self.executor._threads):  # noqa: SLF001 - nor to wait for a while only
            self._acknowledge(hub)
            time.sleep(DRAIN_POLL_SECONDS)
        self._acknowledge(hub)

    @staticmethod
    def _acknowledge(hub: Any) -> None:
        for callback in hub._pop_ready() if hub else ():  # noqa: SLF001 - kombu's hub runs them in its loop only, which is over
            callback()
