"""The one place where an exception becomes a response: in our envelope, or in that of the dialect that the path belongs to."""

from collections.abc import Sequence
from typing import Any

import structlog
from flask import Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from api.http.dialect import Dialect
from shared.errors import ChatrelayError, InvalidRequest, NotFound, RateLimited, RequestError, TooLarge, Unauthorized, Unavailable

DRAIN_BYTES = 64 * 1024 * 1024
"""How much of a request that is too large is read, so that its sender gets to see the answer."""
DRAIN_CHUNK_BYTES = 1024 * 1024

EXTENSION = "chatrelay-dialects"

log = structlog.get_logger(__name__)


class Refused(RequestError):
    """The request was refused before any route saw it."""

    def __init__(self, error: HTTPException) -> None:
        """Keep the status."""
        super().__init__(error.description or error.name)
        self.status = error.code or self.status
        self.allowed = next((value for name, value in error.get_headers() if name == "Allow"), None)


def install(app: Flask, dialects: Sequence[Dialect]) -> None:
    """Register the handlers; a dialect writes the errors at its paths, the first that owns a path wins."""
    app.extensions[EXTENSION] = dialects
    app.register_error_handler(ChatrelayError, _ours)
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: ChatrelayError) -> Response:
    if isinstance(error, Unavailable):
        log.warning("request.unavailable", error=str(error.__cause__ or error))
    dialect = next((each for each in _dialects() if each.owns(request.path)), None)
    response = dialect.refusal(error) if dialect else _native(error)
    if isinstance(error, RateLimited | Unavailable):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
        response.headers["retry-after-ms"] = str(error.retry_after_seconds * 1000)
        response.headers["x-should-retry"] = "true"
    elif isinstance(error, RequestError):
        response.headers["x-should-retry"] = "false"
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Refused) and error.allowed:
        response.headers["Allow"] = error.allowed
    return response


def _native(error: ChatrelayError) -> Response:
    body: dict[str, Any] = {"message": error.message, "type": error.type, "code": error.reason, "param": error.param}
    answer: dict[str, Any] = {"error": body}
    for dialect in _dialects():
        answer |= dialect.fields_in_our_refusals(request.path, error)
    response = jsonify(answer)
    response.status_code = error.status
    return response


def _dialects() -> Sequence[Dialect]:
    dialects: Sequence[Dialect] = current_app.extensions[EXTENSION]
    return dialects


def _too_large(_: RequestEntityTooLarge) -> Response:
    left = DRAIN_BYTES
    while left > 0 and (chunk := request.environ["wsgi.input"].read(DRAIN_CHUNK_BYTES)):
        left -= len(chunk)
    return _ours(TooLarge("The request is too large.", param="body"))


def _http(error: HTTPException) -> Response:
    """Flask's own refusals."""
    return _ours(NotFound("There is nothing at this path.") if error.code == NotFound.status else Refused(error))


def _too_deep(_: RecursionError) -> Response:
    return _ours(InvalidRequest("The request body is nested too deeply.", param="body"))


def _unexpected(error: Exception) -> Response:
    log.error("request.failed", exc_info=error)
    return _ours(ChatrelayError("Something went wrong on our side."))
