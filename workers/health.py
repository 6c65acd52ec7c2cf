"""`python -m workers.health`: exits 0 while the worker on this host still consumes, 1 otherwise. For a container's health check."""

import socket
import sys
import time

from shared.config import settings
from workers.glue.alive_file import alive_file

MAX_SILENCE_SECONDS = 30.0


def main() -> int:
    """Look at the age of the file that the worker touches with each heartbeat of its consumer."""
    path = alive_file(settings(), socket.gethostname())
    try:
        silent_seconds = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        sys.stderr.write("chatrelay: no worker has started here\n")
        return 1
    if silent_seconds > MAX_SILENCE_SECONDS:
        sys.stderr.write(f"chatrelay: the worker has been silent for {silent_seconds:.0f} s\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
