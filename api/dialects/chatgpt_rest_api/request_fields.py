"""Read the fields of this dialect's requests: of bodies, which are forms or JSON, and of queries."""

from typing import Any

from flask import request

from api.http.bodies import check_values
from api.http.params import in_range
from shared.errors import InvalidRequest
from shared.json_types import JsonObject

FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


def read_body() -> JsonObject:
    """Return the request's body: a form, or JSON.

    Raises:
        InvalidRequest: it is neither, or holds what cannot be stored.
    """
    body: Any = request.form.to_dict() if request.mimetype in FORMS else request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a form or a JSON object", param="body")
    check_values(body)
    return body


def text(body: JsonObject, name: str) -> str | None:
    """Return a text of the body; a number is taken as its digits. None where it is missing.

    Raises:
        InvalidRequest: it is something else.
    """
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidRequest(f"{name} must be a text", param=name)


def flag(body: JsonObject, name: str) -> bool:
    """Return whether a field of the body says `true`, in any case."""
    return str(body.get(name, "")).lower() == "true"


def whole_number(name: str, default: int, least: int, most: int) -> int:
    """Return a number of the query.

    Raises:
        InvalidRequest: it is no whole number, or out of range.
    """
    number = in_range(request.args.get(name, str(default)), least, most)
    if number is None:
        raise InvalidRequest(f"{name} must be a whole number from {least} to {most}", param=name)
    return number
