"""The blueprint of this dialect, its paths, its JSON, its errors, its headers, its redirects."""

from http import HTTPStatus
from urllib.parse import quote

from flask import Blueprint, Response, request

from api.http import go_json
from api.http.errors import NotRouted
from shared.errors import ChatrelayError, NotFound
from shared.json_types import JsonObject

PATHS = frozenset({"/health", "/api", "/admin", "/client", "/agents"})
PREFIXES = ("/health/", "/api/", "/admin/", "/client/", "/agents/")

ADMIN = "/admin/"
MAX_ADMIN_BYTES = 65_536
"""Such a body is read before it is known who sent it, and a large one takes the process seconds."""

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-Id",
    "Access-Control-Max-Age": "600",
}

blueprint = Blueprint("chatgpt_api_server", __name__)


def owns(path: str) -> bool:
    """Return whether a path is this dialect's."""
    return path in PATHS or path.startswith(PREFIXES)


def refusal(error: ChatrelayError) -> Response:
    """Return an error as this dialect writes it; gin answers alike to a path and to a method that does not exist."""
    is_missing = error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
    if isinstance(error, NotFound | NotRouted) and is_missing:
        return _allow_all_origins(_not_found())
    return _allow_all_origins(json_response({"error": error.message}, error.status))


def json_response(body: JsonObject, status: int = HTTPStatus.OK) -> Response:
    """Return JSON as Go writes it."""
    return Response(go_json.written(body), status=status, content_type=JSON)


def text_response(body: str, status: int = HTTPStatus.OK) -> Response:
    """Return plain text."""
    return Response(body, status=status, content_type=TEXT)


def _not_found() -> Response:
    return text_response("404 page not found", HTTPStatus.NOT_FOUND)


@blueprint.before_request
def _before() -> Response | None:
    """Answer preflights; redirect a path with a slash at its end to the one without; refuse HEAD; bound `/admin/` bodies."""
    if request.method == "OPTIONS":
        return Response(status=HTTPStatus.NO_CONTENT, headers=PREFLIGHT_HEADERS)
    if request.method == "HEAD":
        return _not_found()
    if request.path.startswith(ADMIN):
        request.max_content_length = MAX_ADMIN_BYTES
    if request.path.endswith("/"):
        # The path was decoded, and may hold a line's end; the query stands as it came, in any bytes.
        path = quote(request.script_root + request.path.rstrip("/"), safe="/:@")
        query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
        status = HTTPStatus.MOVED_PERMANENTLY if request.method == "GET" else HTTPStatus.TEMPORARY_REDIRECT
        return Response(status=status, headers={"Location": path + query})
    return None


@blueprint.after_request
def _allow_all_origins(response: Response) -> Response:
    """Let every page read the answer: who it is for is decided by a header that pages must set themselves."""
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    return response
