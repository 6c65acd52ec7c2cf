"""Read numbers out of queries and headers; what a query has of a model is read by `api/http/bodies.py`."""

from shared.digits import digits

MAX_SEQ_DIGITS = 18
"""How many digits a sequence number may have: what a 64-bit integer can hold."""


def in_range(text: str, least: int, most: int) -> int | None:
    """Return a whole number between two others (both included); None where the text is none, or out of range."""
    number = digits(text, len(str(most)))
    return number if number is not None and least <= number <= most else None
