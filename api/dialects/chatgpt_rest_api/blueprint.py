"""The blueprint of this dialect, its paths, its JSON (as Django writes it), its errors, and who may call."""

import json
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response

from api.context import context
from api.guards import credentials, set_principal
from api.http.errors import NotRouted
from shared.errors import ChatrelayError, InvalidRequest, NotFound, Unauthorized

PATH = "/conversations"
TOKEN_REQUIRED = "access_token is required"  # noqa: S105 - what is missing, no secret

blueprint = Blueprint("chatgpt_rest_api", __name__)


def owns(path: str) -> bool:
    """Return whether a path is this dialect's."""
    return path == PATH or path.startswith(PATH + "/")


def refusal(error: ChatrelayError) -> Response:
    """Return an error as this dialect writes it. Without a token every answer is that a token is required, at any path."""
    if credentials() is None:
        return json_response({"error": TOKEN_REQUIRED}, HTTPStatus.UNAUTHORIZED)
    if isinstance(error, NotRouted) and error.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return _with_security_headers(Response(status=HTTPStatus.METHOD_NOT_ALLOWED))
    if isinstance(error, InvalidRequest):
        return json_response({"error": error.message}, error.status)
    return json_response({"error": {"detail": error.message}}, error.status)


def json_response(body: Any, status: int = HTTPStatus.OK) -> Response:
    """Return a response in JSON as Django writes it: a blank after each colon and comma, and nothing but ASCII."""
    return _with_security_headers(Response(json.dumps(body), status=status, content_type="application/json"))


def no_such_conversation(name: str) -> NotFound:
    """Return the error for a conversation that does not exist or is another user's, in this dialect's words."""
    return NotFound(f"Can't load conversation {name}")


@blueprint.before_request
def _authenticate() -> None:
    token = credentials()
    if not token:
        raise Unauthorized(TOKEN_REQUIRED)
    set_principal(context().authenticator.by_token(token))


@blueprint.after_request
def _with_security_headers(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
