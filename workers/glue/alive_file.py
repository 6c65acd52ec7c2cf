"""The file whose age tells whether the worker on a host still consumes. Little is imported here: a health check looks often."""

from pathlib import Path

from shared.config import Settings


def alive_file(config: Settings, host: str) -> Path:
    """Return the file's path."""
    return config.data_dir / f"worker-{host}.alive"
