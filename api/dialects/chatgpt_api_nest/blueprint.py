"""The blueprint of this dialect, its paths, and its errors."""

from http import HTTPStatus

from flask import Blueprint, Response, jsonify, request

from api import guards
from api.http.errors import NotRouted
from shared.errors import ChatrelayError, InvalidRequest, NotFound, Unauthorized
from shared.json_types import JsonObject

PREFIXES = ("/chat/", "/user/")
PATHS = frozenset({"/chat", "/user"})
SHARED_PREFIX = "/auth/"
"""The paths of our own API that this dialect's clients use too."""

blueprint = Blueprint("chatgpt_api_nest", __name__)
blueprint.before_request(guards.require_user)


class Invalid(InvalidRequest):
    """Something in the request is wrong."""

    def __init__(self, *complaints: str) -> None:
        """Keep all complaints; this dialect lists them."""
        super().__init__("; ".join(complaints))
        self.complaints = list(complaints)


def owns(path: str) -> bool:
    """Return whether a path belongs to this dialect. `/auth` belongs to our own API, which its clients use too."""
    return path in PATHS or path.startswith(PREFIXES)


def refusal(error: ChatrelayError) -> Response:
    """Return an error as Nest writes it; to Nest, a method that is not known at a path is a path that does not exist."""
    is_missing = request.url_rule is None or (isinstance(error, NotRouted) and error.status == HTTPStatus.METHOD_NOT_ALLOWED)
    status = HTTPStatus.NOT_FOUND if is_missing and isinstance(error, NotFound | NotRouted) else HTTPStatus(error.status)
    body: JsonObject = {"statusCode": status, "message": error.message}
    if isinstance(error, Unauthorized):
        body["message"] = "Unauthorized"
    elif isinstance(error, Invalid):
        body["message"] = error.complaints
    elif status == HTTPStatus.NOT_FOUND and is_missing:
        body["message"] = f"Cannot {request.method} {request.path}"
    if not isinstance(error, Unauthorized):
        body["error"] = status.phrase
    response = jsonify(body)
    response.status_code = status
    return response


def fields_in_our_refusals(path: str, error: ChatrelayError) -> JsonObject:
    """Return what this dialect's clients read of a refused login or token, at a path of our own API."""
    if not (path.startswith(SHARED_PREFIX) and isinstance(error, Unauthorized)):
        return {}
    return {"statusCode": error.status, "message": error.message}
