"""Ids that cannot be guessed: a prefix that says what it is, and 128 random bits.

A job's id, its chat completion's and its response's differ in the prefix alone, so that each can be found by the other.
"""

import secrets

RANDOM_BYTES = 16

JOB = "job"
CONVERSATION = "conv"
MESSAGE = "msg"
RESPONSE = "resp"
CHAT_COMPLETION = "chatcmpl"
WEBHOOK_ENDPOINT = "whe"
WEBHOOK_EVENT = "evt"

_SEPARATORS = {CHAT_COMPLETION: "-"}
"""What stands behind a prefix, where it is no underscore."""


def new_id(prefix: str) -> str:
    """Return a new id such as `job_4f…`: the prefix, an underscore, 32 hexadecimal digits."""
    return _joined(prefix, secrets.token_hex(RANDOM_BYTES))


def random_part(any_id: str) -> str:
    """Return what stands behind an id's prefix."""
    return any_id.partition("_")[2]


def with_prefix(prefix: str, any_id: str) -> str:
    """Return an id of ours under another prefix: a job's as its response's, a message's as its item's."""
    return _joined(prefix, random_part(any_id))


def job_id(public_id: str, prefix: str) -> str | None:
    """Return the job's id for an id that it has under another prefix; None where that is not its prefix."""
    start = _joined(prefix, "")
    return _joined(JOB, public_id.removeprefix(start)) if public_id.startswith(start) else None


def _joined(prefix: str, random: str) -> str:
    return f"{prefix}{_SEPARATORS.get(prefix, '_')}{random}"
