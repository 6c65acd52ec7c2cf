"""The file whose age tells whether the worker on a host is alive. Little is imported here: a health check looks often."""

from pathlib import Path


def alive_file(data_dir: Path, host: str) -> Path:
    """Return the file's path."""
    return data_dir / f"worker-{host}.alive"
