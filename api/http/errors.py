"""Turn exceptions into responses: in our envelope, or in that of the dialect that the path belongs to."""

from collections.abc import Sequence
from http import HTTPStatus

import structlog
from flask import Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from api.http.dialect import Dialect
from shared.errors import ChatrelayError, InvalidRequest, NotFound, RateLimited, RequestError, TooLarge, Unauthorized, Unavailable
from shared.json_types import JsonObject

DRAIN_BYTES = 64 * 1024 * 1024
"""How much of a request that is too large is read, since its sender reads no answer before it has sent all."""
DRAIN_CHUNK_BYTES = 1024 * 1024

EXTENSION = "chatrelay-dialects"

log = structlog.get_logger(__name__)


class NotRouted(RequestError):
    """The request was refused before any route saw it."""

    def __init__(self, error: HTTPException) -> None:
        """Keep the status, and which methods are allowed."""
        super().__init__(error.description or error.name)
        self.status = HTTPStatus(error.code or self.status)
        self.allowed = next((value for name, value in error.get_headers() if name == "Allow"), None)


def install(app: Flask, dialects: Sequence[Dialect]) -> None:
    """Register the handlers. A dialect writes the errors at its paths; where two own a path, the first does."""
    app.extensions[EXTENSION] = dialects
    app.register_error_handler(ChatrelayError, _respond)
    app.register_error_handler(RequestEntityTooLarge, _respond_too_large)
    app.register_error_handler(HTTPException, _respond_not_routed)
    app.register_error_handler(RecursionError, _respond_too_deep)
    app.register_error_handler(Exception, _respond_unexpected)


def _respond(error: ChatrelayError) -> Response:
    if isinstance(error, Unavailable):
        log.warning("request.unavailable", error=str(error.__cause__ or error))
    dialect = next((each for each in _dialects() if each.owns(request.path)), None)
    response = dialect.refusal(error) if dialect else _in_our_envelope(error)
    if isinstance(error, RateLimited | Unavailable):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
        response.headers["retry-after-ms"] = str(error.retry_after_seconds * 1000)
        response.headers["x-should-retry"] = "true"
    elif isinstance(error, RequestError):
        response.headers["x-should-retry"] = "false"
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, NotRouted) and error.allowed:
        response.headers["Allow"] = error.allowed
    return response


def _in_our_envelope(error: ChatrelayError) -> Response:
    details = {"message": error.message, "type": error.type, "code": error.reason, "param": error.param}
    body: JsonObject = {"error": details}
    for dialect in _dialects():
        body |= dialect.fields_in_our_refusals(request.path, error)
    response = jsonify(body)
    response.status_code = error.status
    return response


def _dialects() -> Sequence[Dialect]:
    dialects: Sequence[Dialect] = current_app.extensions[EXTENSION]
    return dialects


def _respond_too_large(_: RequestEntityTooLarge) -> Response:
    bytes_left = DRAIN_BYTES
    try:
        while bytes_left > 0 and (chunk := request.environ["wsgi.input"].read(DRAIN_CHUNK_BYTES)):
            bytes_left -= len(chunk)
    except HTTPException as error:  # the rest is broken, or does not come
        return _respond(NotRouted(error))
    return _respond(TooLarge("The request is too large.", param="body"))


def _respond_not_routed(error: HTTPException) -> Response:
    return _respond(NotFound("There is nothing at this path.") if error.code == NotFound.status else NotRouted(error))


def _respond_too_deep(_: RecursionError) -> Response:
    return _respond(InvalidRequest("The request body is nested too deeply.", param="body"))


def _respond_unexpected(error: Exception) -> Response:
    log.error("request.failed", exc_info=error)
    return _respond(ChatrelayError("Something went wrong on our side."))
