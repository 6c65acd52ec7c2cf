"""Ids that cannot be guessed: a prefix that says what it is, and 128 random bits."""

import secrets

RANDOM_BYTES = 16


def new_id(prefix: str) -> str:
    """Make an id such as `job_4f…`: the prefix, an underscore, 32 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(RANDOM_BYTES)}"
