"""The process' one event loop: it runs in a thread of its own and does all model and stream I/O for all jobs."""

import asyncio
import concurrent.futures
import os
import signal
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

T = TypeVar("T")

TICK_SECONDS = 0.25
STOP_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Loop:
    """An event loop that threads hand coroutines to."""

    def __init__(self) -> None:
        """Start the loop's thread."""
        self._loop = uvloop.new_event_loop()
        self.ticked = time.monotonic()
        self._is_stopping = False
        self._started: set[concurrent.futures.Future[Any]] = set()  # an event loop itself keeps no reference to what waits
        self._thread = threading.Thread(target=self._run, name="event-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._ticker = self._loop.create_task(self._tick())
        self._loop.run_forever()

    async def _tick(self) -> None:
        """Show that the loop is alive: leases are only renewed while it is, so that a stuck loop loses its jobs."""
        while True:
            self.ticked = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine on the loop, without waiting, until `stop`. If it ends, so does the process: half a worker is no use."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._started.add(future)
        future.add_done_callback(self._must_not_end)

    def _must_not_end(self, future: "concurrent.futures.Future[Any]") -> None:
        self._started.discard(future)
        if not self._is_stopping:
            error = None if future.cancelled() else future.exception()
            log.critical("loop.broken", exc_info=error)
            os.kill(os.getpid(), signal.SIGKILL)

    def call(self, callback: Any, *args: Any) -> None:
        """Call a function on the loop, soon; from any thread."""
        self._loop.call_soon_threadsafe(callback, *args)

    def stop(self) -> None:
        """Cancel what still runs, and end the thread."""
        asyncio.run_coroutine_threadsafe(self.cancel_all(), self._loop).result(STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)

    async def cancel_all(self) -> None:
        """Cancel all that runs on the loop, again and again until it has ended.

        Before Python 3.12 `asyncio.wait_for`, with which redis-py sends, may swallow a cancel.
        """
        self._is_stopping = True
        while others := asyncio.all_tasks(self._loop) - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=TICK_SECONDS)
