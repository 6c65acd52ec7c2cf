"""Shows that this worker is alive: touches a file while its loop turns, and Celery's consumer does or has a reason not to.

A consumer is silent while Redis is away. To end the worker for that would be to lose its jobs, which live in its memory.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from workers.loop import Loop

PULSE_SECONDS = 2.0
MAX_SILENCE_SECONDS = 20.0
"""Of the loop, or of the consumer."""


class Pulse:
    """One worker's pulse."""

    def __init__(self, file: Path, loop: Loop, is_excused: Callable[[], bool]) -> None:
        """Keep the file to touch, the loop, and what tells whether the consumer may be silent."""
        self._file = file
        self._loop = loop
        self._is_excused = is_excused
        self._consumed = time.monotonic()

    def note_consumer(self) -> None:
        """Note a heartbeat of Celery's consumer."""
        self._consumed = time.monotonic()

    def run(self, stopped: threading.Event) -> None:
        """Touch the file now and then, until stopped."""
        while True:
            if self.is_alive():
                self._file.touch()
            if stopped.wait(PULSE_SECONDS):
                return

    def is_alive(self) -> bool:
        """Return whether loop and consumer have been seen lately."""
        now = time.monotonic()
        if self._is_excused():
            self._consumed = now
        return max(now - self._loop.ticked, now - self._consumed) < MAX_SILENCE_SECONDS
