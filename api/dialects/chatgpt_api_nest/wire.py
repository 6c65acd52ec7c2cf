"""How this wire words things: its refusals, what its requests may say, and the ids it shows."""

import uuid
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify, request

from api.guards import require_user
from api.http.bodies import check_values
from api.http.errors import NotRouted
from shared.errors import ChatrelayError, InvalidRequest, NotFound, Unauthorized

PREFIXES = ("/chat/", "/user/")
SHARED_PREFIX = "/auth/"
"""Our own API's paths that this wire's clients use too."""
PATHS = frozenset({"/chat", "/user"})
CREATED = 201
METHOD_NOT_ALLOWED = 405
COMPLETION = "chatcmpl-"
MESSAGE = "msg_"

blueprint = Blueprint("chatgpt_api_nest", __name__)
blueprint.before_request(require_user)


class Invalid(InvalidRequest):
    """Something in the request is wrong."""

    def __init__(self, *complaints: str) -> None:
        """Say all that is wrong."""
        super().__init__("; ".join(complaints))
        self.complaints = list(complaints)


def owns(path: str) -> bool:
    """Return whether a path belongs to this dialect. `/auth` belongs to our own API, which its clients use too."""
    return path in PATHS or path.startswith(PREFIXES)


def refusal(error: ChatrelayError) -> Response:
    """Say what went wrong, as Nest does; a method that is not known at a path is to Nest a path that is not there."""
    is_lost = request.url_rule is None or (isinstance(error, NotRouted) and error.status == METHOD_NOT_ALLOWED)
    status = NotFound.status if is_lost and isinstance(error, NotFound | NotRouted) else error.status
    body: dict[str, Any] = {"statusCode": status, "message": error.message}
    if isinstance(error, Unauthorized):
        body["message"] = "Unauthorized"
    elif isinstance(error, Invalid):
        body["message"] = error.complaints
    elif status == NotFound.status and is_lost:
        body["message"] = f"Cannot {request.method} {request.path}"
    if not isinstance(error, Unauthorized):
        body["error"] = HTTPStatus(status).phrase
    response = jsonify(body)
    response.status_code = status
    return response


def fields_in_our_refusals(path: str, error: ChatrelayError) -> dict[str, Any]:
    """Return what this wire's clients read of a refused login or token, at a path of our own API."""
    if not (path.startswith(SHARED_PREFIX) and isinstance(error, Unauthorized)):
        return {}
    return {"statusCode": error.status, "message": error.message}


def said() -> dict[str, Any]:
    """Read the request's body: JSON, or a form.

    Raises:
        Invalid: it is neither, or holds what cannot be stored.
    """
    if request.mimetype in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        body: Any = request.form.to_dict()
    else:
        body = request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict):
        raise Invalid("The request body must be a JSON object or a form")
    check_values(body)
    return body


def text(body: dict[str, Any]) -> str | None:
    """Read the message; a number is taken as its text. None where there is none."""
    message = body.get("message")
    if isinstance(message, dict | list) or message is None:
        return None
    return ("true" if message else "false") if isinstance(message, bool) else str(message)


def is_uuid(name: str) -> bool:
    """Tell whether a name is a UUID, as it is usually written."""
    try:
        return str(uuid.UUID(name)) == name.lower()
    except ValueError:
        return False


def shown_id(message_id: str) -> str:
    """Show an answer's id as this wire's clients expect it."""
    return COMPLETION + message_id.removeprefix(MESSAGE)


def stored_id(shown: str) -> str:
    """Tell what `shown_id` was given."""
    return MESSAGE + shown.removeprefix(COMPLETION) if shown.startswith(COMPLETION) else shown
