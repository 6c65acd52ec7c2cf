"""The Procfile: the processes and the shell command of each."""

import re
from pathlib import Path

ENTRY = re.compile(r"^([A-Za-z0-9_-]+):\s*(\S.*)$", re.MULTILINE)


def read(path: Path) -> dict[str, str]:
    """Return the command of each process by its name, in the file's order."""
    return {name: command.strip() for name, command in ENTRY.findall(path.read_text(encoding="utf-8"))}
