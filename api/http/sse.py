"""Server-sent events: framing, heartbeat, headers. Knows nothing of jobs.

The format is WHATWG HTML's "server-sent events" (text/event-stream).
"""

from collections.abc import Iterable

from flask import Response, request

RETRY_MS = 500
"""How long an EventSource waits before it connects again."""

STUCK_SECONDS = 30.0
"""How long a write may wait for a client that reads nothing: what it was sent fills a process' memory."""

HEARTBEAT_COMMENT = b": heartbeat\n"
OPENING = b"retry: %d\n" % RETRY_MS
"""Lines with no empty line behind them: some clients (fetch-event-source, httpx-sse) take that for an event without data."""

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
"""They make every proxy on the way pass each event on at once."""


def frame(event_id: int, kind: str, data: bytes) -> bytes:
    """Return one event as bytes; `data` is one line."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event_id, kind.encode(), data)


def respond(frames: Iterable[bytes]) -> Response:
    """Return a response that streams frames. A client that takes none of them for STUCK_SECONDS is hung up on."""
    response = Response(frames, mimetype="text/event-stream", headers=HEADERS)
    if (connection := request.environ.get("gunicorn.socket")) is not None:
        connection.settimeout(STUCK_SECONDS)
        response.call_on_close(lambda: connection.settimeout(None))
    return response
