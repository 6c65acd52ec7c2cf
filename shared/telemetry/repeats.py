"""Shows a warning once in a while, however often it repeats: a Redis that is away would fill a log."""

import logging
import threading
import time
from collections.abc import Hashable

QUIET_SECONDS = 10.0
MAX_KNOWN = 1_000


class LimitRepeats(logging.Filter):
    """Passes a line, and then the same one only after QUIET_SECONDS, with how many were left out (`repeated`).

    The same is: of our events, all of its fields; of a library's messages, the place that wrote it.
    """

    def __init__(self) -> None:
        """Know no line yet."""
        super().__init__()
        self._shown: dict[Hashable, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a line."""
        if record.levelno < logging.WARNING:
            return True
        key = _key(record)
        with self._lock:
            shown_at, repeated = self._shown.get(key, (-QUIET_SECONDS, 0))
            if time.monotonic() - shown_at < QUIET_SECONDS:
                self._shown[key] = shown_at, repeated + 1
                return False
            if len(self._shown) >= MAX_KNOWN:
                self._shown.clear()
            self._shown[key] = time.monotonic(), 0
        if repeated and isinstance(record.msg, dict):
            record.msg["repeated"] = repeated
        return True


def _key(record: logging.LogRecord) -> Hashable:
    if not isinstance(record.msg, dict):
        return record.name, record.levelno, record.pathname, record.lineno
    return record.name, record.levelno, *(f"{name}={value}" for name, value in record.msg.items() if name != "timestamp")
