"""Read the fields of this dialect's requests."""

from http import HTTPStatus
from typing import Any

from flask import request

from api.http.bodies import check_values
from shared.errors import InvalidRequest

CONTENT_MISSING = "content not in request"


class NotJson(InvalidRequest):
    """The body must be JSON, and say so."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def read_texts(*names: str) -> list[str]:
    """Return texts of the request's body; a number is taken as its digits.

    Raises:
        NotJson: the body does not say that it is JSON.
        InvalidRequest: it is no JSON object, or one of the texts is missing.
    """
    if not request.is_json:
        raise NotJson
    body: Any = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", param="body")
    check_values(body)
    return [_text(body.get(name)) for name in names]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidRequest(CONTENT_MISSING, param="content")
