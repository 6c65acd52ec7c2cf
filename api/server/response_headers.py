"""Headers of every response: no cache keeps what is private, no page is framed, and no type is guessed."""

from flask import Flask, Response, request

EVERYWHERE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
ON_PAGES = {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
}
"""The documentation's pages have scripts and styles of their own inside, and nothing from elsewhere."""


def install(app: Flask) -> None:
    """Add them to every response, unless it has its own."""
    app.after_request(_add)


def _add(response: Response) -> Response:
    headers = {**EVERYWHERE, **(ON_PAGES if response.mimetype == "text/html" else {})}
    if "Authorization" in request.headers or request.method == "POST":
        headers["Cache-Control"] = "no-store"
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    return response
