"""The data folder and SQLite's file are closed to others, and what is shared on purpose is left alone."""

import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dev.testing.stack import SECRET_KEY
from shared.config import Settings
from shared.security.private_files import protect


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    protect(Settings(secret_key=SECRET_KEY, data_dir=folder))

    assert (mode(folder), mode(folder / "chatrelay.db")) == (0o700, 0o600)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_what_an_older_version_left_open_is_closed(tmp_path: Path, suffix: str) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / f"chatrelay.db{suffix}"
    file.touch(0o644)
    protect(Settings(secret_key=SECRET_KEY, data_dir=tmp_path))

    assert (mode(tmp_path), mode(file)) == (0o700, 0o600)


def test_a_folder_of_everybodys_stays_and_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with capture_logs() as logs:
        protect(Settings(secret_key=SECRET_KEY, data_dir=tmp_path))

    assert mode(tmp_path) == 0o1777
    assert [line["event"] for line in logs] == ["data_folder.open_to_others"]
    assert mode(tmp_path / "chatrelay.db") == 0o600
