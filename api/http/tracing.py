"""Give every request an id, on its answer and in every log line of it, and log each request in one line, without its query."""

import logging
import re
import time
from http import HTTPStatus

import structlog
from flask import Flask, Response, g, request

from shared.ids import new_id

_ACCEPTABLE = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_TOKEN = re.compile(r"(?<=^/agents/)[^/]+|cr_[\w-]{16,}")
"""The tokens that a path may hold: that of an agent, and API tokens."""

PROBES = ("/healthz", "/readyz")
"""Asked every few seconds: that all is well is no news."""

log = structlog.get_logger("access")


def install(app: Flask) -> None:
    """Register the hooks that begin and end a request."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    request_id = request.headers.get("X-Request-Id", "")
    g.request_id = request_id if _ACCEPTABLE.match(request_id) else new_id("req")
    g.begun = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request=g.request_id)
    client_request_id = request.headers.get("X-Client-Request-Id", "")
    if _ACCEPTABLE.match(client_request_id):
        structlog.contextvars.bind_contextvars(client_request=client_request_id)


def _end(response: Response) -> Response:
    response.headers["x-request-id"] = g.request_id
    milliseconds = round((time.monotonic() - g.begun) * 1000, 1)
    path = _TOKEN.sub("…", request.path)
    level = logging.DEBUG if request.path in PROBES and response.status_code < HTTPStatus.BAD_REQUEST else logging.INFO
    log.log(level, "http.request", method=request.method, path=path, status=response.status_code, ms=milliseconds)
    return response
