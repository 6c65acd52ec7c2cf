"""A TCP proxy whose connections can fall silent without being closed, as behind a firewall that forgot them."""

import socket
import threading
from contextlib import suppress
from typing import Self

READ_BYTES = 65536


class SilentProxy:
    """Passes bytes on in both directions; `silence` makes all connections of that moment swallow them."""

    def __init__(self, port: int) -> None:
        """Listen on a free port, in front of another."""
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._silenced: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> int:
        """Silence the connections that there are; return how many."""
        self._silenced.update(self._sockets)
        return len(self._silenced) // 2

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(READ_BYTES):
                if source not in self._silenced:
                    sink.sendall(data)
            if source not in self._silenced:
                sink.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        """Stay for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._sockets:
            each.close()
