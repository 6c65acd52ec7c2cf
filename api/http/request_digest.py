"""A digest that tells two requests apart by what their clients sent, and by nothing that we make of it."""

import hashlib
import json
from typing import Any

from flask import request


def request_digest() -> str:
    """Return the SHA-256 of the current request's path and body, in hexadecimal.

    JSON counts by its values: neither the order of names nor white space makes a difference. A form counts by its fields, in any
    order; everything else by its bytes.
    """
    digest = hashlib.sha256(request.path.encode(errors="surrogatepass"))
    digest.update(b"\0")
    digest.update(_canonical_body())
    return digest.hexdigest()


def _canonical_body() -> bytes:
    body: Any = request.get_json(silent=True)
    if body is None and request.form:
        body = sorted(request.form.items(multi=True))
    if body is None:
        return request.get_data()
    return json.dumps(body, sort_keys=True).encode()
