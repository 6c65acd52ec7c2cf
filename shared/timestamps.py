"""Moments as others write them. In the database, a moment is a whole number of milliseconds since 1970 (UTC)."""

from datetime import UTC, datetime

MS_PER_SECOND = 1_000
US_PER_SECOND = 1_000_000
DAY_MS = 24 * 3_600 * MS_PER_SECOND


def utc(ms: int) -> datetime:
    """Return a moment as a date and time in UTC."""
    return datetime.fromtimestamp(ms / MS_PER_SECOND, UTC)


def utc_of_us(us: int) -> datetime:
    """Return a moment that is given in microseconds since 1970 as a date and time in UTC."""
    return datetime.fromtimestamp(us / US_PER_SECOND, UTC)


def unix_seconds(ms: int) -> int:
    """Return a moment in whole seconds since 1970, rounded down."""
    return ms // MS_PER_SECOND
