"""gunicorn's worker of greenlets, with a request that can be found from its body: the app decides whether the connection closes."""

from typing import Any

from gunicorn.workers.ggevent import GeventWorker


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker whose requests' bodies know their requests."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request."""
        req.body.request = req
        super().handle_request(listener_name, req, sock, addr)
