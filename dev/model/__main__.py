"""Run the built-in model: `python -m dev.model [--host 127.0.0.1] [--port 8090] [--api-key KEY]`."""

import sys

from dev.model.server import main

if __name__ == "__main__":
    sys.exit(main())
