"""Makes the repository's virtual environment, and keeps in it exactly what a lock file names.

Run by `bin/dev` and `bin/test` with whatever Python they found, before anything is installed: standard library only.

    python dev/installation.py requirements-test.txt requirements-dev.txt

installs the first lock file; the others are part of it, so that they count as installed too.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPLETE = ".chatrelay-complete"
"""Exists only while no installation is under way: an interrupted one leaves an environment that cannot be trusted."""

LOCK_POLL_SECONDS = 0.5
LOCK_WAIT_SECONDS = 1800
PROBE_SECONDS = 30


def _stamp_file(folder: Path, lock_file: Path) -> Path:
    """Return the file that holds the hash of an installed lock file: `.chatrelay-dev` for `requirements-dev.txt`."""
    return folder / f".chatrelay-{lock_file.stem.removeprefix('requirements-')}"


def _stamp(lock_file: Path) -> str:
    return hashlib.sha256(lock_file.read_bytes()).hexdigest()


def _contains(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _runs(folder: Path) -> bool:
    """Return whether its Python starts; it does not when the Python that it was made from is gone."""
    probe = [str(folder / "bin" / "python"), "-c", ""]
    try:
        return subprocess.run(probe, check=False, capture_output=True, timeout=PROBE_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _is_whole(folder: Path) -> bool:
    """Return whether it was completed, in this place: the scripts of an environment that was moved do not start."""
    return _contains(folder / COMPLETE, str(folder)) and _runs(folder)


def _is_current(folder: Path, lock_file: Path) -> bool:
    return _contains(_stamp_file(folder, lock_file), _stamp(lock_file)) and _is_whole(folder)


def _wait_for_turn(descriptor: int) -> None:
    """Wait until no other process installs. The lock is on the folder itself, and ends with its process."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    is_announced = False
    while time.monotonic() < deadline:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_announced:
                print("Another bin/dev or bin/test is installing; waiting for it.", flush=True)
                is_announced = True
        time.sleep(LOCK_POLL_SECONDS)
    sys.exit("chatrelay: another installation holds .venv and does not end.")


def _install(folder: Path, lock_files: Sequence[Path]) -> None:
    if not _is_whole(folder):
        print(f"Making .venv with Python {sys.version.split()[0]}.", flush=True)
        venv.EnvBuilder(with_pip=True, clear=True, symlinks=True).create(folder)
    (folder / COMPLETE).unlink(missing_ok=True)
    print(f"Installing {lock_files[0].name}; this takes a minute the first time.", flush=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    options = ["--require-hashes", "-r", str(lock_files[0])]
    if subprocess.run([*pip, *options], check=False, stdin=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"chatrelay: pip could not install {lock_files[0].name}; see its output above.")
    for lock_file in lock_files:
        _stamp_file(folder, lock_file).write_text(_stamp(lock_file), encoding="utf-8")
    (folder / COMPLETE).write_text(str(folder), encoding="utf-8")


def ensure(folder: Path, lock_files: Sequence[Path]) -> None:
    """Install the first lock file into the environment, unless it is there. On failure the process ends with one line."""
    if _is_current(folder, lock_files[0]):
        return
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _wait_for_turn(descriptor)
        if not _is_current(folder, lock_files[0]):
            _install(folder, lock_files)
    finally:
        os.close(descriptor)


def main(names: Sequence[str]) -> None:
    """Install the named lock files into `.venv`."""
    try:
        ensure(ROOT / ".venv", [ROOT / name for name in names])
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"chatrelay: cannot make .venv: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
