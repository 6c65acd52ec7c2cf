"""Server-sent events: framing, heartbeat, headers. Knows nothing of jobs.

The format is WHATWG HTML's "server-sent events" (text/event-stream).
"""

from collections.abc import Iterable

from flask import Response

RETRY_MS = 500
"""How long an EventSource waits before it comes back."""

HEARTBEAT = b": heartbeat\n\n"
OPENING = b"retry: %d\n\n" % RETRY_MS

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
"""Tell every proxy on the way to pass each event on at once."""


def frame(event_id: int, kind: str, data: bytes) -> bytes:
    """Write one event; `data` is one line."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event_id, kind.encode(), data)


def respond(frames: Iterable[bytes]) -> Response:
    """Answer with a stream of frames."""
    return Response(frames, mimetype="text/event-stream", headers=HEADERS)
