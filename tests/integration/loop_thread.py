"""An event loop in a thread of its own, for what is tested from outside of it."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

SOON_SECONDS = 5.0


@contextmanager
def running(work: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Run a coroutine for as long as the block lasts; it must not end by itself."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
        assert not task.done()
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(SOON_SECONDS)
        assert not thread.is_alive()
        loop.close()
