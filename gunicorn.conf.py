"""How gunicorn serves the API: one event loop per process, thousands of open streams, an end that lets readers move on."""

import signal
import sys
from types import FrameType
from typing import Any

from shared.config import settings
from shared.errors import ConfigurationError

_config = settings()
BOOT_ERROR = 3
"""The exit code of a worker by which gunicorn ends, too, instead of starting it again."""

_host = f"[{_config.bind_address}]" if ":" in _config.bind_address else _config.bind_address
bind = f"{_host}:{_config.port}"
workers = _config.web_concurrency
worker_class = "api.server.gevent_worker.Worker"
worker_connections = _config.web_connections
timeout = 60
graceful_timeout = 5
keepalive = 75
limit_request_field_size = 8_190  # as nginx and Apache have it; all fields together are kept until the last byte of them is here
limit_request_fields = 64
forwarder_headers = ""  # SCRIPT_NAME is no header of ours: a client could move paths with it
max_requests = 0  # a recycled process would drop its streams
preload_app = False
accesslog = None  # api/http/tracing.py tells each request, without the tickets that are in queries
loglevel = "warning"
control_socket_disable = True
forwarded_allow_ips = "*" if _config.trusted_proxies else "127.0.0.1"


def post_worker_init(worker: Any) -> None:
    """Check what the process needs. On SIGTERM let every stream end without an end, so that its reader comes back elsewhere."""
    worker.log.error_log.handlers.clear()
    worker.log.error_log.propagate = True
    parts = worker.wsgi.extensions["chatrelay"]
    try:
        parts.check_surroundings()
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"chatrelay: cannot start: {error}\n")
        raise SystemExit(BOOT_ERROR) from None
    previous = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        parts.hub.close()
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, stop)
