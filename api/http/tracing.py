"""Every request has an id, on its answer and in every log line; one line tells each request, without its query."""

import re
import time

import structlog
from flask import Flask, Response, g, request

from shared.ids import new_id

_ACCEPTABLE = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_TOKEN = re.compile(r"(?<=^/agents/)[^/]+|cr_[\w-]{16,}")
"""An agent's token may be in the path."""

log = structlog.get_logger("access")


def install(app: Flask) -> None:
    """Register the hooks."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _ACCEPTABLE.match(given) else new_id("req")
    g.begun = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request=g.request_id)
    theirs = request.headers.get("X-Client-Request-Id", "")
    if _ACCEPTABLE.match(theirs):
        structlog.contextvars.bind_contextvars(client_request=theirs)


def _end(response: Response) -> Response:
    response.headers["x-request-id"] = g.request_id
    milliseconds = round((time.monotonic() - g.begun) * 1000, 1)
    path = _TOKEN.sub("…", request.path)
    log.info("request", method=request.method, path=path, status=response.status_code, ms=milliseconds)
    return response
