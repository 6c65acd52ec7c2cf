"""What refers to items that the caller has been sent before, and what tools did that no chat completion has."""

from collections.abc import Sequence

from api.context import context
from api.dialects.openai import unknown
from api.dialects.openai.items import compaction, messages, shapes
from api.guards import principal
from shared import ids
from shared.errors import NotFound
from shared.json_types import JsonObject


def settled(sent: Sequence[shapes.Item], param: str) -> list[JsonObject]:
    """Return items that were sent, with what references are about in their place; what has no effect is left out and named.

    Raises:
        NotFound: there is no such item; it is named, under `param`.
        InvalidRequest: something has no effect, and the operator wants that refused.
    """
    dumped = shapes.dumped(sent)
    referred = [_message_id(item["id"]) for item in dumped if item["type"] == shapes.REFERENCE]
    stored = {
        message.id: messages.items_of(message.id, message.role, message.body)
        for message in context().conversations.own_messages(principal().user_id, referred)
    }
    found = []
    for place, item in enumerate(dumped):
        if item["type"] == shapes.REFERENCE:
            found += _referred(item["id"], stored, f"{param}.{place}.id")
        elif item["type"] == compaction.TYPE:
            found.append(compaction.message(item, f"{param}.{place}"))
        elif item["type"] in shapes.HOSTED:
            unknown.leave_out(f"{param}.{place}", item["type"])
        else:
            found.append(item)
    return found


def _message_id(item_id: str) -> str:
    """Return the id of the message that an item of ours is a part of: its ids are made of it."""
    return ids.with_prefix(ids.MESSAGE, "_".join(item_id.split("_")[:2]))


def _referred(item_id: str, stored: dict[str, list[JsonObject]], param: str) -> list[JsonObject]:
    """Return the item of an id, if it is one that a chat completion takes; thoughts are none.

    Raises:
        NotFound: the caller has no such item.
    """
    siblings = stored.get(_message_id(item_id))
    kind = item_id.partition("_")[0]
    if siblings is not None and kind == "rs":
        return []
    for item in siblings or ():
        is_it = item["type"] == shapes.MESSAGE if kind == ids.MESSAGE else item_id.startswith(item["id"])
        if is_it and item["id"].startswith(f"{kind}_"):
            return [item]
    raise NotFound(f"Item with id '{item_id}' not found.", param=param)
