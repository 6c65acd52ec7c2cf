"""The clock that leases are counted by: it only goes forward, and goes on while the machine sleeps, as the database's does."""

import time

# macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC goes on in sleep.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def seconds() -> float:
    """Return the seconds since some fixed moment."""
    return time.clock_gettime(_CLOCK)
