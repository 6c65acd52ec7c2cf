"""Which browsers' pages may call us: CORS by CORS_ORIGINS."""

import re
from collections.abc import Callable

from flask import Flask, Response, request

ALLOWED_METHODS = "GET, POST, DELETE, OPTIONS"
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, X-Request-Id"
SDK_PREFIXES = ("x-stainless-", "openai-", "x-client-request-id")
"""What the headers begin with that OpenAI's SDKs send besides: there are many, and more with each version."""
EXPOSED_HEADERS = (
    "x-request-id, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "
    "retry-after-ms, x-should-retry, x-chatrelay-job-id, openai-poll-after-ms"
)
PREFLIGHT_SECONDS = 600
NO_CONTENT = 204

_NAME = re.compile(r"[a-z0-9-]{1,64}")


def install(app: Flask, origins: list[str], answers_itself: Callable[[str], bool]) -> None:
    """Answer preflights and mark answers, for the origins that are allowed; with none, do nothing.

    Args:
        app: the application.
        origins: who may call us; `*` is everybody.
        answers_itself: at which paths somebody else answers preflights.
    """
    if not origins:
        return

    def preflight() -> Response | None:
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Response(status=NO_CONTENT) if is_preflight and not answers_itself(request.path) else None

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
    """Tell which headers a page may send: ours, and of those that it asks for the SDKs'."""
    asked = (name.strip().lower() for name in request.headers.get("Access-Control-Request-Headers", "").split(","))
    return ", ".join([ALLOWED_HEADERS, *(name for name in asked if name.startswith(SDK_PREFIXES) and _NAME.fullmatch(name))])
