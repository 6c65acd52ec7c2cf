"""Bounds of how a request's body comes in: it may neither stop, nor crawl, nor keep this process from all else.

gunicorn has no such settings. It also reads what a request has left of its body, before it looks for the next one, however long
that takes: a client that is not done is hung up on instead.
"""

import io
import time
from collections.abc import Callable, Iterable
from typing import IO, Any

import gevent
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, HTTPException, RequestTimeout

MIN_PIECE_BYTES, MAX_PIECE_BYTES = 64, 65_536
TURN_SECONDS = 0.001
"""How long a piece may take; the next one is half as large, or twice. A chunk of a body may be a byte long, and takes 10 us."""
SILENCE_SECONDS = 10.0
GRACE_SECONDS = 10.0
MIN_BYTES_A_SECOND = 1024
"""From GRACE_SECONDS on, on the average."""

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


class BoundedBody(io.RawIOBase):
    """A request's body, as `wsgi.input`."""

    def __init__(self, body: IO[bytes]) -> None:
        """Read nothing yet."""
        self._body = body
        self._began: float | None = None
        self._error: HTTPException | None = None
        self._piece_bytes = MIN_PIECE_BYTES
        self.bytes_read = 0
        self.is_read = False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read a piece, then let others have their turn.

        Raises:
            BadRequest: the body's chunks are broken.
            RequestTimeout: nothing came for a while, or too little.
        """
        self._began = self._began or time.monotonic()
        begun = time.monotonic()
        piece = self._piece(min(len(buffer), self._piece_bytes))
        self._resize(time.monotonic() - begun)
        self.is_read = not piece
        self.bytes_read += len(piece)
        seconds = time.monotonic() - self._began - GRACE_SECONDS
        if piece and self.bytes_read < seconds * MIN_BYTES_A_SECOND:
            self._error = RequestTimeout("The body comes too slowly.")
            raise self._error
        buffer[: len(piece)] = piece
        gevent.sleep(0)
        return len(piece)

    def _resize(self, seconds: float) -> None:
        """Fit the next piece to the time that one took, so that large bodies are read fast and small chunks in short turns."""
        wanted = self._piece_bytes * 2 if seconds < TURN_SECONDS else self._piece_bytes // 2
        self._piece_bytes = min(max(wanted, MIN_PIECE_BYTES), MAX_PIECE_BYTES)

    def _piece(self, size: int) -> bytes:
        if self._error:
            raise self._error
        try:
            with gevent.Timeout(SILENCE_SECONDS):
                return self._body.read(size)
        except gevent.Timeout:
            self._error = RequestTimeout("The body does not come.")
        except (ParseException, OSError, ValueError) as error:
            self._error = BadRequest(f"The body cannot be read: {type(error).__name__}.")
        raise self._error


class BoundedBodies:
    """WSGI middleware that puts a bounded body in place of gunicorn's."""

    def __init__(self, app: App) -> None:
        """Keep the app."""
        self._app = app

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        request = getattr(environ["wsgi.input"], "request", None)
        is_chunked = request is not None and isinstance(request.body.reader, ChunkedReader)
        length = environ.get("CONTENT_LENGTH") or "0"
        if request is None or not (is_chunked or length != "0"):
            return self._app(environ, start_response)
        body = environ["wsgi.input"] = BoundedBody(environ["wsgi.input"])
        try:
            return self._app(environ, start_response)
        finally:
            if not body.is_read and (is_chunked or str(body.bytes_read) != length):
                request.must_close = True  # as a client that asks for it; nothing is read any more
