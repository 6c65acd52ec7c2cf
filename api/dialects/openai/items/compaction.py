"""Compaction items: a summary of what was said, sealed, so that only its own user can send it back, and no client reads it."""

import orjson

from api.context import context
from api.dialects.openai.items.shapes import MESSAGE
from api.guards import principal
from shared.errors import InvalidRequest
from shared.json_types import JsonObject
from shared.security.vault import SealBroken, Vault

TYPE = "compaction"
PREFACE = "A summary of the conversation so far:\n\n"


def item(base: str, summary: str) -> JsonObject:
    """Return the item of a summary; its id is made of `base`."""
    sealed = orjson.dumps({"type": TYPE, "user": principal().user_id, "summary": summary}).decode()
    return {"id": f"cmp_{base}", "type": TYPE, "encrypted_content": _vault().seal(sealed)}


def message(sent_back: JsonObject, param: str) -> JsonObject:
    """Return the message item that a compaction item stands for: a user's, since many models take the system's at the start only.

    Raises:
        InvalidRequest: it is not one of the caller's.
    """
    try:
        opened = orjson.loads(_vault().open(sent_back["encrypted_content"]))
        is_own = opened["type"] == TYPE and opened["user"] == principal().user_id
    except (SealBroken, orjson.JSONDecodeError, KeyError, TypeError):
        is_own = False
    if not is_own:
        raise InvalidRequest("This is no compaction of yours.", param=f"{param}.encrypted_content")
    return {"type": MESSAGE, "role": "user", "content": PREFACE + opened["summary"]}


def _vault() -> Vault:
    return Vault(context().config.secret_key)
