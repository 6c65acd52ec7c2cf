"""How this wire words things: its JSON, its refusals, its headers, its redirects."""

from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, request

from api.http import errors, go_json
from shared.errors import ChatrelayError, NotFound

PATHS = frozenset({"/health", "/api", "/admin", "/client", "/agents"})
PREFIXES = ("/health/", "/api/", "/admin/", "/client/", "/agents/")

ADMIN = "/admin/"
MAX_ADMIN_BYTES = 65_536
"""Nobody is known before such a body is read, and a large one takes the process seconds."""

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-Id",
    "Access-Control-Max-Age": "600",
}

OK = 200
NO_CONTENT = 204
BAD_REQUEST = 400
UNAUTHORIZED = 401
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405
INTERNAL_ERROR = 500
UNAVAILABLE = 503
MOVED_FOR_GOOD = 301
TEMPORARY_REDIRECT = 307

blueprint = Blueprint("chatgpt_api_server", __name__)


def owns(path: str) -> bool:
    """Tell whether this wire is spoken at a path."""
    return path in PATHS or path.startswith(PREFIXES)


def refusal(error: ChatrelayError) -> Response:
    """Say what went wrong. What is not there, and a method that is not known there, are one and the same to gin."""
    status = error.status
    if isinstance(error, NotFound | errors.NotRouted) and status in {NOT_FOUND, METHOD_NOT_ALLOWED}:
        return _marked(not_found())
    return _marked(answer({"error": error.message}, status))


def answer(body: dict[str, Any], status: int = OK) -> Response:
    """Answer with JSON."""
    return Response(go_json.written(body), status=status, content_type=JSON)


def text(body: str, status: int = OK) -> Response:
    """Answer with plain text."""
    return Response(body, status=status, content_type=TEXT)


def not_found() -> Response:
    """Say that there is nothing here."""
    return text("404 page not found", NOT_FOUND)


@blueprint.before_request
def _before() -> Response | None:
    """Answer preflights; send a path with a slash at its end to the one without; know no HEAD."""
    if request.method == "OPTIONS":
        return Response(status=NO_CONTENT, headers=PREFLIGHT_HEADERS)
    if request.method == "HEAD":
        return not_found()
    if request.path.startswith(ADMIN):
        request.max_content_length = MAX_ADMIN_BYTES
    if request.path.endswith("/"):
        # What a path says was decoded, and may be a line's end; a query stands as it came, in any bytes.
        path = quote(request.script_root + request.path.rstrip("/"), safe="/:@")
        query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
        status = MOVED_FOR_GOOD if request.method == "GET" else TEMPORARY_REDIRECT
        return Response(status=status, headers={"Location": path + query})
    return None


@blueprint.after_request
def _marked(response: Response) -> Response:
    """Let every page read the answer: who it is for is told by a header that pages must set themselves."""
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    return response
