"""Which addresses may be called at all. Where a host leads to is looked at when it is called, by the worker's sockets."""

from urllib.parse import urlsplit

from yarl import URL


class UrlRefused(ValueError):
    """The address may not be called, by what its text says."""


def callable_url(url: str, *, private: bool) -> URL:
    """Read an address that a user wants called, as aiohttp will.

    Two parsers must agree, since they do not refuse the same: urllib's finds characters that turn into others (`℀` into `a/c`),
    yarl's is the one that connects.

    Args:
        url: the address.
        private: the operator allows private addresses, and plain http.

    Raises:
        UrlRefused: with a sentence for the user.
        ValueError: it is no URL: half an IPv6 address, a port that is none.
    """
    parts, parsed = urlsplit(url), URL(url)
    schemes = {"http", "https"} if private else {"https"}
    if parts.scheme not in schemes or parsed.scheme not in schemes:
        raise UrlRefused("Only https addresses are called.")
    credentials = (parts.username, parts.password, parsed.user, parsed.password)
    if not parts.hostname or not parsed.host or any(each is not None for each in credentials):
        raise UrlRefused("The address must have a host, and no credentials.")
    if parts.port == 0 or any(sign.isspace() for sign in url):
        raise UrlRefused("The address must have a port other than 0, and no blanks.")
    return parsed
