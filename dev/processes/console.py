"""The terminal that all processes share: each line with the name of its process."""

import os
import signal
from collections.abc import Sequence
from typing import TextIO

COLOURS = (36, 33, 32, 35, 34, 31)
"""ANSI foreground colours, one for each name in turn."""


class Console:
    """Writes whole lines, each after the name of the process that wrote it."""

    def __init__(self, stream: TextIO, names: Sequence[str]) -> None:
        self._stream = stream
        self._width = max((len(name) for name in names), default=0)
        self._colours = dict(zip(names, COLOURS * len(names), strict=False)) if stream.isatty() else {}

    def write_line(self, name: str, text: str) -> None:
        """Write one line of a process."""
        label = f"{name:<{self._width}} |"
        if name in self._colours:
            label = f"\x1b[{self._colours[name]}m{label}\x1b[0m"
        self.show(f"{label} {text}")

    def show(self, text: str) -> None:
        """Write text as it stands. When nobody reads it any more (`bin/dev | head`), end as after SIGTERM."""
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            os.kill(os.getpid(), signal.SIGTERM)
