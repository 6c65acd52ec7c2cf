"""The ids that this dialect shows: sessions are UUIDs, and answers are called as OpenAI calls its completions."""

import uuid

COMPLETION = "chatcmpl-"
MESSAGE = "msg_"


def is_uuid(name: str) -> bool:
    """Return whether a name is a UUID, as it is usually written."""
    try:
        return str(uuid.UUID(name)) == name.lower()
    except ValueError:
        return False


def new_session_id(user_id: str, idempotency_key: str | None) -> str:
    """Return a new session's id; for a request that may come again, always the same."""
    if idempotency_key is None:
        return str(uuid.uuid4())
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{user_id} {idempotency_key}"))


def shown_id(message_id: str) -> str:
    """Return an answer's id as this dialect's clients expect it."""
    return COMPLETION + message_id.removeprefix(MESSAGE)


def stored_id(shown: str) -> str:
    """Return the message id for one that `shown_id` returned; every other id as it is."""
    return MESSAGE + shown.removeprefix(COMPLETION) if shown.startswith(COMPLETION) else shown
