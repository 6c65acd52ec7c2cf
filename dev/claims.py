"""What one running stack must have for itself: its ports and its data folder."""

import fcntl
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from shared.errors import ChatrelayError

ADDRESSES = ("127.0.0.1", "0.0.0.0")  # noqa: S104 - bound for an instant, to ask; never listened on
"""Both, because not every system sees a listener on one of them from the other."""


class PortTaken(ChatrelayError):
    """A port is taken by another program."""


class FolderTaken(ChatrelayError):
    """The data folder is in use by another running stack."""


def _objection(port: int) -> str | None:
    """Why nobody could listen on this port now; None when one could."""
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
    """Make sure that each port, given by the name of its setting, is free.

    Raises:
        PortTaken: naming the port and its setting.
    """
    owners: dict[int, str] = {}
    for name, port in ports.items():
        if port in owners:
            raise PortTaken(f"{owners[port]} and {name} are both {port}; give them different ports")
        owners[port] = name
    for name, port in ports.items():
        if objection := _objection(port):
            raise PortTaken(f"port {port} cannot be used ({objection.lower()}); free it, or set {name} to another one")


def hold_folder(folder: Path) -> None:
    """Keep every other stack out of this data folder for as long as this process lives.

    Raises:
        FolderTaken: when another one is already there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FolderTaken(f"another bin/dev is using {folder}; stop it, or set DATA_DIR to another folder") from None
