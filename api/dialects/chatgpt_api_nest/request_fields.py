"""Read the fields of this dialect's requests, which are JSON or forms."""

from typing import Any

from flask import request

from api.dialects.chatgpt_api_nest.blueprint import Invalid
from api.http.bodies import check_values
from shared.digits import digits
from shared.json_types import JsonObject

FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
FALSE_IN_FORMS = frozenset({"", "0", "false"})
"""How a form, which has nothing but text, says no."""
MAX_DIGITS = 9


def read_body() -> JsonObject:
    """Return the request's body: JSON, or a form.

    Raises:
        Invalid: it is neither.
        InvalidRequest: it holds what cannot be stored.
    """
    if request.mimetype in FORMS:
        body: Any = request.form.to_dict()
    else:
        body = request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict):
        raise Invalid("The request body must be a JSON object or a form")
    check_values(body)
    return body


def message_text(body: JsonObject) -> str | None:
    """Return the message; a number is taken as its text. None where there is none."""
    message = body.get("message")
    if isinstance(message, dict | list) or message is None:
        return None
    return ("true" if message else "false") if isinstance(message, bool) else str(message)


def session_id(body: JsonObject) -> str | None:
    """Return the session's id, under its newer or its older name; None where it is missing or empty.

    Raises:
        Invalid: it is no text.
    """
    value = body.get("sessionId") or body.get("session_id")
    if value and not isinstance(value, str):
        raise Invalid("sessionId must be a UUID")
    return value or None


def wants_stream(body: JsonObject) -> bool:
    """Return whether `stream` is true: in JSON by JavaScript's rules, where the text `false` is true, too."""
    value = body.get("stream")
    if request.is_json:
        return bool(value) or isinstance(value, dict | list)
    return str(value or "").lower() not in FALSE_IN_FORMS


def positive_number(name: str, default: int) -> int:
    """Return a number of the query.

    Raises:
        Invalid: it is no positive whole number, or has too many digits.
    """
    number = digits(request.args.get(name, str(default)), MAX_DIGITS)
    if not number:
        raise Invalid(f"{name} must be a positive number")
    return number
