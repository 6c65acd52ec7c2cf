"""Request bodies before anything reads them: expanded where they are compressed, and forms bounded in their fields."""

import io
import zlib
from functools import cached_property
from typing import IO

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from shared.errors import InvalidRequest, UnsupportedMedia

FORM = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 1_000
GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 31
"""zlib's `wbits` for a gzip header, RFC 1952, and the largest window."""


class ApiRequest(Request):
    """A request whose body, where `Content-Encoding` is gzip (RFC 9110, 8.4), reads as what was compressed."""

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, expanded.

        Raises:
            UnsupportedMedia: it is compressed in another way.
            InvalidRequest: it is no gzip.
            RequestEntityTooLarge: it would become too large.
        """
        body = super().stream
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding in ("identity", ""):
            return body
        if encoding not in GZIP:
            raise UnsupportedMedia(f"A body may be compressed by gzip, not by {encoding[:20]}.", param="Content-Encoding")
        return io.BytesIO(_expanded(body.read(), self.max_content_length))

    def _load_form_data(self) -> None:
        """Parse a form, unless it has so many fields that parsing alone would take seconds."""
        if self.mimetype == FORM and self.get_data().count(b"&") >= MAX_FORM_FIELDS:
            raise InvalidRequest(f"A form may have {MAX_FORM_FIELDS} fields.", param="body")
        super()._load_form_data()


def _expanded(compressed: bytes, max_bytes: int | None) -> bytes:
    expansion = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        data = expansion.decompress(compressed, max_bytes + 1 if max_bytes else 0)
    except zlib.error:
        raise InvalidRequest("The body is not compressed by gzip, as Content-Encoding says.", param="body") from None
    if max_bytes and len(data) > max_bytes:
        raise RequestEntityTooLarge
    if not expansion.eof:
        raise InvalidRequest("The compressed body is cut off.", param="body")
    return data
