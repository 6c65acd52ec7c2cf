"""`python -m workers.health [DATA_DIR]`, for a container's health check: exits 0 while the worker on this host is alive, else 1.

It reads no settings: reading them would be most of what an idle worker costs.
"""

import socket
import sys
import time
from pathlib import Path

from workers.glue.alive_file import alive_file

DATA_DIR = ".data"
MAX_SILENCE_SECONDS = 30.0


def main() -> int:
    """Look at the age of the file that the worker touches while it is alive, also while Redis or the database is away."""
    path = alive_file(Path(sys.argv[1] if len(sys.argv) > 1 else DATA_DIR), socket.gethostname())
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
