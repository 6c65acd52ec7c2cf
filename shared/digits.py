"""Read whole numbers out of text that comes from outside: a query, a header."""


def digits(text: str, max_digits: int) -> int | None:
    """Return a whole number that is written in ASCII digits and nothing else; None where it is not, or has too many of them.

    `int` alone also takes signs, blanks, underscores and the digits of every script, and a long text costs it a long time.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= max_digits else None
