"""A scripted provider: raw bytes on a socket. The scenario is the model's name, its nth call gets the nth answer, or the last."""

import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

HEAD_END = b"\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class ScriptedProvider:
    """Answers each request with the bytes that a script has for its model, and closes the connection, or falls silent."""

    def __init__(self, scripts: Mapping[str, Sequence[bytes]], *, hangs_up: bool = True) -> None:
        """Listen on a port of its own, with a provider's base URL in `url`; requests without a model are scripted under ""."""
        self._scripts = scripts
        self._hangs_up = hangs_up
        self._open: list[socket.socket] = []
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.calls: Counter[str] = Counter()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        asked = _read(line)
        model = asked.get("model", "")
        self.asked.setdefault(model, []).append(asked)
        answers = self._scripts.get(model) or [NOT_FOUND]
        answer = answers[min(self.calls[model], len(answers) - 1)]
        self.calls[model] += 1
        line.sendall(answer)
        if self._hangs_up:
            line.close()
        else:
            self._open.append(line)

    def close(self) -> None:
        """Listen no more, and close what is open."""
        for line in (self._server, *self._open):
            line.close()


def _read(line: socket.socket) -> dict[str, Any]:
    """Read one request, and return its body; empty where it has none."""
    received = b""
    while HEAD_END not in received:
        received += line.recv(65_536)
    head, _, body = received.partition(HEAD_END)
    length = next(
        (int(value) for name, _, value in (h.partition(b":") for h in head.split(b"\r\n")) if name.lower() == b"content-length"), 0
    )
    while len(body) < length:
        body += line.recv(65_536)
    asked: dict[str, Any] = orjson.loads(body) if body else {}
    return asked
