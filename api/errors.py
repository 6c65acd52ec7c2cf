"""The one place where an exception becomes a response."""

from typing import Any

import structlog
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from shared.errors import ChatrelayError, InvalidRequest, NotFound, RateLimited, RequestError, TooLarge, Unauthorized, Unavailable

DRAIN_BYTES = 64 * 1024 * 1024
"""How much of a request that is too large is read, so that its sender gets to see the answer."""
DRAIN_CHUNK_BYTES = 1024 * 1024

AUTH_PATH = "/auth/"

log = structlog.get_logger(__name__)


def install(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(ChatrelayError, _ours)
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: ChatrelayError) -> Response:
    if isinstance(error, Unavailable):
        log.warning("request.unavailable", error=str(error.__cause__ or error))
    body: dict[str, Any] = {"message": error.message, "type": error.type, "code": error.reason, "param": error.param}
    answer: dict[str, Any] = {"error": body}
    if isinstance(error, Unauthorized) and request.path.startswith(AUTH_PATH):
        # A dialect lives on this path, whose clients look here.
        answer |= {"statusCode": error.status, "message": error.message}
    response = jsonify(answer)
    response.status_code = error.status
    if isinstance(error, RateLimited | Unavailable):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    elif isinstance(error, RequestError):
        response.headers["x-should-retry"] = "false"
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _too_large(_: RequestEntityTooLarge) -> Response:
    left = DRAIN_BYTES
    while left > 0 and (chunk := request.environ["wsgi.input"].read(DRAIN_CHUNK_BYTES)):
        left -= len(chunk)
    return _ours(TooLarge("The request is too large.", param="body"))


def _http(error: HTTPException) -> Response:
    """Flask's own refusals, in our envelope."""
    if error.code == NotFound.status:
        return _ours(NotFound("There is nothing at this path."))
    response = _ours(InvalidRequest(error.description or error.name))
    response.status_code = error.code or response.status_code
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _too_deep(_: RecursionError) -> Response:
    return _ours(InvalidRequest("The request body is nested too deeply.", param="body"))


def _unexpected(error: Exception) -> Response:
    log.error("request.failed", exc_info=error)
    return _ours(ChatrelayError("Something went wrong on our side."))
