"""Lists as OpenAI pages them: `after` an id, `limit`, `order`, and whether there is more."""

from collections.abc import Sequence

from flask import request

from api.http.params import in_range
from shared.errors import InvalidRequest, NotFound
from shared.json_types import JsonObject

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
ASCENDING, DESCENDING = "asc", "desc"


def limit() -> int:
    """Read how many are to be on a page.

    Raises:
        InvalidRequest: it is no number, or out of range.
    """
    number = in_range(request.args.get("limit", str(DEFAULT_LIMIT)), 1, MAX_LIMIT)
    if number is None:
        raise InvalidRequest(f"limit must be a whole number from 1 to {MAX_LIMIT}.", param="limit")
    return number


def is_descending(default: str = DESCENDING) -> bool:
    """Read whether the newest come first.

    Raises:
        InvalidRequest: it is neither order.
    """
    order = request.args.get("order") or default
    if order not in {ASCENDING, DESCENDING}:
        raise InvalidRequest("order must be asc or desc.", param="order")
    return order == DESCENDING


def page(whole: Sequence[JsonObject], default: str = DESCENDING) -> JsonObject:
    """Return the page that the query names, of a whole list (the oldest first) of objects with ids.

    Raises:
        InvalidRequest: the query makes no sense.
        NotFound: `after` is none of them.
    """
    ordered = list(reversed(whole)) if is_descending(default) else list(whole)
    after, count = request.args.get("after"), limit()
    if after:
        places = [place for place, item in enumerate(ordered, 1) if item["id"] == after]
        if not places:
            raise NotFound(f"There is nothing under the id '{after}' in this list.", param="after")
        ordered = ordered[places[-1] :]  # behind the last one: two items may have been sent under one id
    return listed(ordered[:count], has_more=len(ordered) > count)


def listed(views: Sequence[JsonObject], *, has_more: bool) -> JsonObject:
    """Return a page as an object."""
    first_id, last_id = (views[0]["id"], views[-1]["id"]) if views else (None, None)
    return {"object": "list", "data": list(views), "has_more": has_more, "first_id": first_id, "last_id": last_id}
