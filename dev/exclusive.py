"""What a running stack needs for itself alone: its ports and its data folder."""

import fcntl
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from shared.errors import ChatrelayError

ADDRESSES = ("127.0.0.1", "0.0.0.0")  # noqa: S104 - bound for an instant, as a test; never listened on
"""Both, because not every system sees a listener on one of them from the other."""


class PortTaken(ChatrelayError):
    """A port is in use."""


class FolderTaken(ChatrelayError):
    """The data folder is in use by another running stack."""


def _why_taken(port: int) -> str | None:
    """Return why nobody could listen on this port now; None when it is free."""
    for address in ADDRESSES:
        with socket.socket() as probe:
            # As servers do: a port is not taken because a connection to it was closed a moment ago.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                return error.strerror
    return None


def check_ports(ports: Mapping[str, int]) -> None:
    """Make sure that the ports, each under the name of its setting, are free and differ.

    Raises:
        PortTaken: with the port and its setting.
    """
    owners: dict[int, str] = {}
    for name, port in ports.items():
        if port in owners:
            raise PortTaken(f"{owners[port]} and {name} are both {port}; give them different ports")
        owners[port] = name
    for name, port in ports.items():
        if reason := _why_taken(port):
            raise PortTaken(f"port {port} cannot be used ({reason.lower()}); free it, or set {name} to another one")


def lock_folder(folder: Path) -> None:
    """Lock this data folder against other stacks for as long as this process lives.

    Raises:
        FolderTaken: another stack has locked it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FolderTaken(f"another bin/dev is using {folder}; stop it, or set DATA_DIR to another folder") from None
