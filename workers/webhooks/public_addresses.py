"""Keeps requests to addresses that users name away from private networks.

What counts is the address that a socket is made for: however a host is written, whatever it resolves to, and whenever, it is this
that would be connected to.
"""

import ipaddress
import socket

from aiohappyeyeballs import AddrInfoType

_INSIDE_4 = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 "
    "192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 "
    "240.0.0.0/4 168.63.129.16/32"
)
"""IPv4 that is no host of the internet: IANA's special-purpose registry, multicast, and one that Azure's machines ask."""
_INSIDE_6 = "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20"
"""What is special of _OUTSIDE: Teredo, benchmarks, documentation, 6to4, which leads to any IPv4 address, and anycast."""
# The registries: iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry. A list of our own, since what
# Python takes for global differs from version to version.
_REFUSED = tuple(ipaddress.ip_network(network) for network in (*_INSIDE_4.split(), *_INSIDE_6.split()))
_OUTSIDE = ipaddress.ip_network("2000::/3")
"""All that was ever given out of IPv6 for the internet."""
IPV4 = 4


class AddressRefused(OSError):
    """The address is not public, so that it may not be called."""


def is_public(address: str) -> bool:
    """Return whether an address is out on the internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return (parsed.version == IPV4 or parsed in _OUTSIDE) and not any(parsed in network for network in _REFUSED)


def public_socket(address: AddrInfoType) -> socket.socket:
    """Return the socket for a connection; aiohttp's `socket_factory`.

    Raises:
        AddressRefused: the address is not public. Which it is stays unsaid: a name may be one of the operator's network.
    """
    family, kind, protocol, _, (host, *_) = address
    if not is_public(str(host)):
        raise AddressRefused("The host has no public address.")
    return socket.socket(family, kind, protocol)
