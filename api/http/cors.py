"""Let pages of other origins call us: CORS by CORS_ORIGINS."""

import re
from collections.abc import Sequence
from http import HTTPStatus

from flask import Flask, Response, request

from api.http.dialect import Dialect

ALLOWED_METHODS = "GET, POST, DELETE, OPTIONS"
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, X-Request-Id"
SDK_PREFIXES = ("x-stainless-", "openai-", "x-client-request-id")
"""Prefixes of the headers that OpenAI's SDKs send besides: there are many, and more with each version."""
EXPOSED_HEADERS = (
    "x-request-id, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "
    "retry-after-ms, x-should-retry, x-chatrelay-job-id, openai-poll-after-ms, x-chatrelay-ignored"
)
PREFLIGHT_SECONDS = 600

_NAME = re.compile(r"[a-z0-9-]{1,64}")


def install(app: Flask, origins: list[str], dialects: Sequence[Dialect]) -> None:
    """Answer preflights and put CORS headers on responses, for the origins that are allowed; with none, do nothing.

    Args:
        app: the application.
        origins: the origins whose pages may call us; `*` is every origin.
        dialects: those of them that answer preflights themselves are left to do so.
    """
    if not origins:
        return

    own_preflights = [dialect.owns for dialect in dialects if dialect.answers_preflight]

    def preflight() -> Response | None:
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not is_preflight or any(owns(request.path) for owns in own_preflights):
            return None
        return Response(status=HTTPStatus.NO_CONTENT)

    def mark(response: Response) -> Response:
        origin = request.headers.get("Origin", "")
        if origin and ("*" in origins or origin in origins):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
            response.headers["Access-Control-Allow-Headers"] = _allowed()
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
            response.vary.add("Origin")
        return response

    app.before_request(preflight)
    app.after_request(mark)


def _allowed() -> str:
    """Return the headers that a page may send: ours and, of those that it asks for, the SDKs'."""
    requested = (name.strip().lower() for name in request.headers.get("Access-Control-Request-Headers", "").split(","))
    return ", ".join([ALLOWED_HEADERS, *(name for name in requested if name.startswith(SDK_PREFIXES) and _NAME.fullmatch(name))])
