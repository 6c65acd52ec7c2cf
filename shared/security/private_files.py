"""The data folder, and SQLite's file in it, are for their owner alone: they hold messages and password hashes."""

import os
import stat
from pathlib import Path

import structlog
from sqlalchemy import make_url

from shared.config import Settings

FOLDER_MODE = 0o700
FILE_MODE = 0o600
OTHERS = 0o077

log = structlog.get_logger(__name__)


def protect(config: Settings) -> None:
    """Make the data folder where it is missing, and take the rights of others to it and to the database's file.

    A folder that is shared on purpose, such as /tmp, or is not ours, stays as it is (`data_folder.open_to_others`).

    Raises:
        OSError: the folder cannot be made.
    """
    config.data_dir.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    if not _close(config.data_dir, FOLDER_MODE):
        log.warning("data_folder.open_to_others", folder=str(config.data_dir))
    url = make_url(config.database)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).touch(mode=FILE_MODE)
        for name in (url.database, f"{url.database}-wal", f"{url.database}-shm"):
            if not _close(Path(name), FILE_MODE):
                log.warning("database_file.open_to_others", file=name)


def _close(path: Path, mode: int) -> bool:
    """Return whether a file or folder is closed to others now, or does not exist."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return True
    if not found.st_mode & OTHERS:
        return True
    is_shared = bool(found.st_mode & stat.S_ISVTX) or path.resolve() == Path.home()
    if is_shared or found.st_uid != os.geteuid():
        return False
    path.chmod(mode)
    return True
