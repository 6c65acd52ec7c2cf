"""Writes the chunks of a stream straight to its client's socket, past the WSGI server, as far as the socket takes them at once.

The WSGI server wakes a greenlet for whatever it sends. Where one event goes to a thousand readers, that is most of what they cost.
"""

import os
from collections.abc import Mapping
from typing import Any

import gevent.socket


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of an HTTP/1.1 body (RFC 9112, 7.1)."""
    return b"%X\r\n%b\r\n" % (len(data), data)


class DirectWriter:
    """A client's socket. Used by the greenlet that serves the client, and by others only while that one waits."""

    def __init__(self, socket: gevent.socket.socket) -> None:
        """Keep the socket; nothing is written yet."""
        self._socket = socket
        self._rest = b""

    def write(self, chunk: bytes) -> bool:
        """Write what the socket takes without a wait; return whether that was all. If not, `flush` has to be called next."""
        try:
            written = os.write(self._socket.fileno(), chunk)
        except OSError:  # it is full, or broken: `flush` waits, or raises
            written = 0
        self._rest = chunk[written:]
        return not self._rest

    def flush(self) -> None:
        """Write what the socket has not taken, and wait for it. Raises an OSError when the client is gone."""
        if self._rest:
            self._socket.sendall(self._rest)
            self._rest = b""


def direct_writer(environ: Mapping[str, Any]) -> DirectWriter | None:
    """Return a writer to a request's client, or None where the response has no chunks, or the socket is not gevent's plain one."""
    socket = environ.get("gunicorn.socket")
    is_chunked = environ["REQUEST_METHOD"] == "GET" and environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
    return DirectWriter(socket) if is_chunked and type(socket) is gevent.socket.socket else None
