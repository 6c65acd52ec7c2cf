"""Becomes another program that the kernel kills when its parent dies (Linux only).

    python dev/tether.py PARENT_PID COMMAND...

A supervisor that is killed with SIGKILL cannot tell its children; the kernel can. The wish is voiced here, in a process of its own
with a single thread, where that is safe; it survives the exec. Standard library only, so that it costs milliseconds.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str]) -> tuple[str, ...]:
    """The same command, tied to this process' life where the system can do that, else unchanged."""
    if sys.platform != "linux":
        return tuple(command)
    return (sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()), *command)


def main(parent: int, command: list[str]) -> None:
    """Ask for the signal, then become the command."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
