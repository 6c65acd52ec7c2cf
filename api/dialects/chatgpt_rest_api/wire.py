"""How this wire words things: Django's JSON, its refusals, what a request may say, who may ask."""

import json
from typing import Any

from flask import Blueprint, Response, request

from api.context import context
from api.guards import credentials, set_principal
from api.http.bodies import check_values
from api.http.errors import NotRouted
from shared.errors import ChatrelayError, InvalidRequest, NotFound, Unauthorized

PATH = "/conversations"
OK = 200
CREATED = 201
METHOD_NOT_ALLOWED = 405
TOKEN_REQUIRED = "access_token is required"  # noqa: S105 - what is missing, no secret
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

blueprint = Blueprint("chatgpt_rest_api", __name__)


def owns(path: str) -> bool:
    """Tell whether this wire is spoken at a path."""
    return path == PATH or path.startswith(PATH + "/")


def refusal(error: ChatrelayError) -> Response:
    """Say what went wrong. Who sends no token hears of nothing else, also where there is nothing."""
    if credentials() is None:
        return answer({"error": TOKEN_REQUIRED}, Unauthorized.status)
    if isinstance(error, NotRouted) and error.status == METHOD_NOT_ALLOWED:
        return _hardened(Response(status=METHOD_NOT_ALLOWED))
    if isinstance(error, InvalidRequest):
        return answer({"error": error.message}, error.status)
    return answer({"error": {"detail": error.message}}, error.status)


def answer(body: Any, status: int = OK) -> Response:
    """Answer with JSON as Django writes it: a blank after each colon and comma, and nothing but ASCII."""
    return _hardened(Response(json.dumps(body), status=status, content_type="application/json"))


@blueprint.before_request
def _let_in() -> None:
    token = credentials()
    if not token:
        raise Unauthorized(TOKEN_REQUIRED)
    set_principal(context().authenticator.by_token(token))


@blueprint.after_request
def _hardened(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response


def said() -> dict[str, Any]:
    """Read the request's body: a form, or JSON.

    Raises:
        InvalidRequest: it is neither, or holds what cannot be stored.
    """
    body: Any = request.form.to_dict() if request.mimetype in FORMS else request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a form or a JSON object", param="body")
    check_values(body)
    return body


def text(body: dict[str, Any], name: str) -> str | None:
    """Read a text; a number is taken as its digits. None where it is missing.

    Raises:
        InvalidRequest: it is something else.
    """
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidRequest(f"{name} must be a text", param=name)


def flag(body: dict[str, Any], name: str) -> bool:
    """Read a yes or no: `true` in any case is yes, all else is no."""
    return str(body.get(name, "")).lower() == "true"


def whole_number(name: str, default: int, least: int, most: int) -> int:
    """Read a number of the query.

    Raises:
        InvalidRequest: it is none, or out of range.
    """
    given = request.args.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and len(given) <= len(str(most)) and least <= int(given) <= most):
        raise InvalidRequest(f"{name} must be a whole number from {least} to {most}", param=name)
    return int(given)


def unknown(name: str) -> NotFound:
    """Say that there is no such conversation, or that it is somebody else's, in this wire's words."""
    return NotFound(f"Can't load conversation {name}")
