"""A real HTTP server that webhooks are delivered to: it keeps what came, and answers with the statuses that a test sets."""

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

import orjson


class Received(NamedTuple):
    """One request."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def response_id(self) -> str:
        """The id of the response that has ended."""
        response_id: str = orjson.loads(self.body)["data"]["id"]
        return response_id


class Receiver:
    """Listens on a port of its own."""

    def __init__(self) -> None:
        """Start."""
        self.received: list[Received] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.hold = threading.Event()
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(Received(dict(self.headers), body))
                receiver.hold.wait(30)
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def of(self, response_id: str) -> list[Received]:
        """Return the requests about one response."""
        return [each for each in self.received if each.response_id == response_id]

    def __enter__(self) -> Self:
        """Stay for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
