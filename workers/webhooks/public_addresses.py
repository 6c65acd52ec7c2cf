"""Keeps requests to addresses that users name away from private networks.

What counts is the address that a socket is made for: however a host is written, whatever it resolves to, and whenever, it is this
that would be connected to.
"""

import ipaddress
import socket

from aiohappyeyeballs import AddrInfoType

_TUNNELS = tuple(
    ipaddress.ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::ffff:0:0/96", "::/96")
)
"""IPv6 that leads to an IPv4 address, which may be anybody's: NAT64, 6to4, Teredo, mapped and compatible ones."""
_INSIDE = tuple(ipaddress.ip_network(network) for network in ("fec0::/10", "5f00::/16", "192.88.99.0/24"))
"""What Python takes for global, and networks use inside: old site-local addresses, segment routing, 6to4's relays."""


class AddressRefused(OSError):
    """The address is not public, so that it may not be called."""


def is_public(address: str) -> bool:
    """Return whether an address is out on the internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if any(parsed in network for network in (*_TUNNELS, *_INSIDE)):
        return False
    return parsed.is_global and not parsed.is_multicast


def public_socket(address: AddrInfoType) -> socket.socket:
    """Return the socket for a connection; aiohttp's `socket_factory`.

    Raises:
        AddressRefused: the address is not public. Which it is stays unsaid: a name may be one of the operator's network.
    """
    family, kind, protocol, _, (host, *_) = address
    if not is_public(str(host)):
        raise AddressRefused("The host has no public address.")
    return socket.socket(family, kind, protocol)
