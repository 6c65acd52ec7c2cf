"""Keeps requests to addresses that users name away from private networks.

A name is resolved here, all its addresses are looked at, and it is these very addresses that are connected to: no second look-up
can give another answer.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_TUNNELS = tuple(
    ipaddress.ip_network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::ffff:0:0/96", "::/96")
)
"""IPv6 that leads to an IPv4 address, which may be anybody's: NAT64, 6to4, Teredo, mapped and compatible ones."""


class Refused(OSError):
    """The address is none that may be called."""


def is_public(address: str) -> bool:
    """Tell whether an address is out on the internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and any(parsed in network for network in _TUNNELS):
        return False
    return parsed.is_global and not parsed.is_multicast


def check_url(url: str, *, private: bool) -> None:
    """Refuse what can be refused before anything is resolved. A literal address is never resolved, so it is looked at here.

    Args:
        url: what a user wants to be called.
        private: the operator allows private addresses, and plain http.

    Raises:
        Refused: with a sentence for the user.
    """
    parts = urlsplit(url)
    if parts.scheme not in ({"http", "https"} if private else {"https"}):
        raise Refused("Only https addresses are called.")
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise Refused("The address must have a host, and no credentials.")
    if not private:
        _check_literal(parts.hostname)


def _check_literal(host: str) -> None:
    try:
        public = is_public(host)
    except ValueError:
        return  # a name
    if not public:
        raise Refused(f"{host} is not a public address.")


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those that have an address which is not public."""

    def __init__(self, *, private: bool) -> None:
        """Prepare; with `private` nothing is refused."""
        self._private = private
        self._resolver = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Resolve a name; see `AbstractResolver.resolve`.

        Raises:
            Refused: one of its addresses is not public.
        """
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            if not self._private and not is_public(each["host"]):
                raise Refused(f"{host} leads to an address that is not public.")
        return found

    async def close(self) -> None:
        """Let go."""
        await self._resolver.close()
