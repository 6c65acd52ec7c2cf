"""One spelling of TLS for every client of Redis: redis-py's `ssl_…` parameters in REDIS_URL, verified unless they say otherwise.

Celery's transport verifies nothing that it is not told to verify, and would send the password to anybody.
"""

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

SCHEME = "rediss"
PREFIX = "ssl_"
REQUIREMENTS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
FALSE = {"false", "0", "no", "off"}


def broker_url(url: str) -> str:
    """Return the URL for Celery: without what `broker_tls` has."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith(PREFIX)]
    return parts._replace(query=urlencode(kept)).geturl()


def broker_tls(url: str) -> dict[str, Any] | None:
    """Return Celery's `broker_use_ssl` for REDIS_URL; None for a URL without TLS.

    Raises:
        ValueError: a parameter is unknown, or its value is.
    """
    parts = urlsplit(url)
    if parts.scheme != SCHEME:
        return None
    named = {name: value for name, value in parse_qsl(parts.query) if name.startswith(PREFIX)}
    requirement = named.pop("ssl_cert_reqs", "required").removeprefix("CERT_").lower()
    checks_name = named.pop("ssl_check_hostname", "true").lower() not in FALSE
    if requirement not in REQUIREMENTS or set(named) - set(FILES):
        raise ValueError(f"of TLS it knows ssl_cert_reqs (required, optional, none), ssl_check_hostname, {', '.join(FILES)}")
    required = REQUIREMENTS[requirement]
    return {"ssl_cert_reqs": required, "ssl_check_hostname": checks_name and required is not ssl.CERT_NONE, **named}
