"""What a call of OpenAI's SDK fails with, as a `ProviderError`: its message, its code, and whether another try may succeed."""

import time
from email.utils import parsedate_to_datetime

import aiohttp
import httpx2
from openai import APIConnectionError, APIStatusError, OpenAIError

from shared.models.base import WORD_CHARS
from shared.models.error_codes import JobErrorCode
from workers.providers.base import ProviderError

RETRYABLE_STATUSES = frozenset({408, 409, 429})
FIRST_SERVER_ERROR = 500
MAX_ERROR_CHARS = 2_000
MIN_KEY_CHARS = 8
"""A shorter key is not redacted: it is no real key, and may be a word of the message."""

CONNECTION_ERRORS = (APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError)
"""What a connection fails with. The SDK lets the errors of the transport below it through where it does not know them."""
CALL_ERRORS = (*CONNECTION_ERRORS, OpenAIError, ValueError)
"""What a call fails with. The last two are also raised for a call that would fail again: a bad key, a redirect to nowhere."""


def provider_error(error: Exception, called: str = "provider") -> ProviderError:
    """Return the `ProviderError` of one of `CALL_ERRORS`; `called` is the name of what was called, for the message."""
    if isinstance(error, APIStatusError):
        return status_error(error)
    if isinstance(error, CONNECTION_ERRORS):
        return broken_off(f"The connection to the {called} failed: {_innermost(error)}")
    return ProviderError(_redacted(str(error), ""), code=JobErrorCode.PROVIDER_ERROR, retryable=False)


def status_error(error: APIStatusError) -> ProviderError:
    """Return the `ProviderError` of a response that is no success; its status says whether another try may succeed."""
    status = error.status_code
    key = error.request.headers.get("authorization", "").removeprefix("Bearer ")
    return ProviderError(
        _redacted(_message(error.body) or error.message, key),
        code=_code(error.code),
        retryable=status in RETRYABLE_STATUSES or status >= FIRST_SERVER_ERROR,
        http_status=status,
        retry_after_seconds=retry_after_seconds(error.response.headers),
    )


def stream_error(error: object, key: str) -> ProviderError:
    """Return the `ProviderError` of an error inside a stream. Nothing says whether another try may succeed, so it is tried."""
    code = error.get("code") if isinstance(error, dict) else None
    return ProviderError(_redacted(_message(error) or str(error), key), code=_code(code), retryable=True)


def broken_off(message: str) -> ProviderError:
    """Return the error of an answer that broke off."""
    return ProviderError(message, code=JobErrorCode.PROVIDER_BROKE_OFF, retryable=True)


def malformed(message: str) -> ProviderError:
    """Return the error of an answer that cannot be read."""
    return ProviderError(message, code=JobErrorCode.PROVIDER_MALFORMED, retryable=True)


def _redacted(message: str, key: str) -> str:
    """Bound a provider's message, and remove the key where it repeats it: it is logged, stored, and shown to the user."""
    redacted = message.replace(key, "…") if len(key) >= MIN_KEY_CHARS else message
    return redacted if len(redacted) <= MAX_ERROR_CHARS else redacted[:MAX_ERROR_CHARS] + "…"


def _code(code: object) -> str:
    if isinstance(code, str) and code:
        return code[:WORD_CHARS]
    return str(code) if isinstance(code, int) else JobErrorCode.PROVIDER_ERROR


def _message(body: object) -> str:
    """Return the message in an error's body: OpenAI's `message`, others' `detail`, or the body itself; "" where there is none."""
    message = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    return message if isinstance(message, str) else ""


def _innermost(error: BaseException) -> str:
    """Return the message of the first cause: the SDK's own is only «Connection error.»."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def retry_after_seconds(headers: httpx2.Headers) -> float | None:
    """Read how long the provider wants us to wait: `retry-after-ms`, or `retry-after` in seconds or as a date.

    Returns:
        seconds, negative for a date that has passed; None where neither header has sense.
    """
    milliseconds, seconds_or_date = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    try:
        if milliseconds.isdigit():
            return float(milliseconds) / 1000
        if seconds_or_date.replace(".", "", 1).isdigit():
            return float(seconds_or_date)
        return parsedate_to_datetime(seconds_or_date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
