"""Becomes another program that the kernel kills when its parent dies (Linux only).

    python dev/processes/parent_death.py PARENT_PID COMMAND...

A supervisor that is killed with SIGKILL cannot end its children; the kernel can. The signal is requested here, in a process with a
single thread, where that is safe, and the request survives the exec. Standard library only, so that it takes milliseconds.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1


def tied_to_parent(command: Sequence[str]) -> tuple[str, ...]:
    """Return a command that ends with this process where the system can do that, else the same command."""
    if sys.platform != "linux":
        return tuple(command)
    return (sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()), *command)


def main(parent: int, command: list[str]) -> None:
    """Request the signal, then become the command."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the request
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
