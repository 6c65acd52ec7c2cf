"""Which browsers' pages may call us: CORS by CORS_ORIGINS."""

from flask import Flask, Response, request

ALLOWED_METHODS = "GET, POST, DELETE, OPTIONS"
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, X-Request-Id"
EXPOSED_HEADERS = "x-request-id, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
PREFLIGHT_SECONDS = 600
NO_CONTENT = 204


def install(app: Flask, origins: list[str]) -> None:
    """Answer preflights and mark answers, for the origins that are allowed; with none, do nothing."""
    if not origins:
        return

    def preflight() -> Response | None:
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Response(status=NO_CONTENT) if is_preflight else None

    def mark(response: Response) -> Response:
        origin = request.headers.get("Origin", "")
        if origin and ("*" in origins or origin in origins):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
            response.vary.add("Origin")
        return response

    app.before_request(preflight)
    app.after_request(mark)
