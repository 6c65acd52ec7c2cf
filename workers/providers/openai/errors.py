"""What a call of OpenAI's SDK fails with, as a `ProviderError`: its message, its code, and whether another try may succeed."""

import html
import re
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
import httpx2
from openai import APIConnectionError, APIStatusError, OpenAIError

from shared.json_types import JsonObject
from shared.models.base import WORD_CHARS
from shared.models.error_codes import JobErrorCode
from workers.providers.base import ProviderError

RETRYABLE_STATUSES = frozenset({408, 409, 429})
FIRST_SERVER_ERROR = 500
MAX_ERROR_CHARS = 2_000
MIN_KEY_CHARS = 8
"""A shorter key is not redacted: it is no real key, and may be a word of the message."""

MAX_PAGE_BYTES = 10_000
"""How far a page's title is looked for."""
STATUS_DIGITS = 3

FINAL = frozenset(
    (
        "account_deactivated",
        "billing_hard_limit_reached",
        "billing_not_active",
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_prompt",
        "model_not_found",
        "string_above_max_length",
        "unsupported_country_region_territory",
    )
)
"""Codes of errors that another try would meet again, whatever the status says."""
FINAL_TYPES = frozenset(
    ("authentication_error", "invalid_request_error", "not_found_error", "permission_error", "request_too_large")
)
"""Types that say the same where there is no status."""

_MESSAGES = ("message", "detail", "error", "msg")
_TITLE = re.compile(r"<(?:title|h1)[^>]*>(.*?)</", re.DOTALL | re.IGNORECASE)

CONNECTION_ERRORS = (APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError)
"""What a connection fails with. The SDK lets the errors of the transport below it through where it does not know them."""
CALL_ERRORS = (*CONNECTION_ERRORS, OpenAIError, ValueError)
"""What a call fails with. The last two are also raised for a call that would fail again: a bad key, a redirect to nowhere."""


def provider_error(error: Exception, called: str = "provider") -> ProviderError:
    """Return the `ProviderError` of one of `CALL_ERRORS`; `called` is the name of what was called, for the message."""
    if isinstance(error, APIStatusError):
        return status_error(error)
    if isinstance(error, CONNECTION_ERRORS):
        cause = _innermost(error)
        message = f"The connection to the {called} failed: {cause or type(cause).__name__}"
        return broken_off(message, is_down=isinstance(cause, ConnectionRefusedError))
    return ProviderError(_redacted(str(error), ""), code=JobErrorCode.PROVIDER_ERROR, retryable=False)


def status_error(error: APIStatusError) -> ProviderError:
    """Return the `ProviderError` of a response that is no success; status and code say whether another try may succeed."""
    status = error.status_code
    key = error.request.headers.get("authorization", "").removeprefix("Bearer ")
    return ProviderError(
        _redacted(message_of(error.body) or error.message, key),
        code=_code(error.body),
        retryable=_may_pass(status) and not _is_final(error.body),
        http_status=status,
        retry_after_seconds=retry_after_seconds(error.response.headers),
        is_down=status == HTTPStatus.SERVICE_UNAVAILABLE,
    )


def stream_error(error: object, key: str) -> ProviderError:
    """Return the `ProviderError` of an error inside a stream. Where nothing says whether another try may succeed, it is tried."""
    status = _status_in(error)
    may_pass = str(_error_in(error).get("type")) not in FINAL_TYPES if status is None else _may_pass(status)
    return ProviderError(
        _redacted(message_of(error) or str(error), key),
        code=_code(error),
        retryable=may_pass and not _is_final(error),
        http_status=status,
    )


def page_error(page: bytes) -> ProviderError:
    """Return the error of a page that came in place of an answer."""
    return malformed(_page_message(page[:MAX_PAGE_BYTES].decode(errors="replace")))


def refuses_usage(error: APIStatusError) -> bool:
    """Return whether a provider refused to be asked for the usage at a stream's end."""
    is_refusal = error.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    return is_refusal and any(name in f"{error.message} {error.body}" for name in ("stream_options", "include_usage"))


def broken_off(message: str, *, is_down: bool = False) -> ProviderError:
    """Return the error of an answer that broke off; `is_down`: nothing answers there."""
    return ProviderError(message, code=JobErrorCode.PROVIDER_BROKE_OFF, retryable=True, is_down=is_down)


def empty(message: str) -> ProviderError:
    """Return the error of an answer that has nothing in it."""
    return ProviderError(message, code=JobErrorCode.PROVIDER_EMPTY, retryable=True)


def malformed(message: str) -> ProviderError:
    """Return the error of an answer that cannot be read."""
    return ProviderError(message, code=JobErrorCode.PROVIDER_MALFORMED, retryable=True)


def _redacted(message: str, key: str) -> str:
    """Bound a provider's message, and remove the key where it repeats it: it is logged, stored, and shown to the user."""
    redacted = message.replace(key, "…") if len(key) >= MIN_KEY_CHARS else message
    return redacted if len(redacted) <= MAX_ERROR_CHARS else redacted[:MAX_ERROR_CHARS] + "…"


def _may_pass(status: int) -> bool:
    return status in RETRYABLE_STATUSES or status >= FIRST_SERVER_ERROR


def _is_final(body: object) -> bool:
    error = _error_in(body)
    return not FINAL.isdisjoint(word for name in ("code", "type") if isinstance(word := error.get(name), str))


def _error_in(body: object) -> JsonObject:
    """Return the object in an error's body that has its code: the body, what is in its `error`, or the first one of a list."""
    if isinstance(body, list):
        return _error_in(body[0]) if body else {}
    if not isinstance(body, dict):
        return {}
    return _error_in(body["error"]) if isinstance(body.get("error"), dict | list) else body


def _status_in(body: object) -> int | None:
    code = str(_error_in(body).get("code"))
    return int(code) if code.isdecimal() and len(code) == STATUS_DIGITS and int(code) >= HTTPStatus.BAD_REQUEST else None


def _code(body: object) -> str:
    """Return an error's code; its type where the code is only a number."""
    error = _error_in(body)
    code = error.get("code")
    word = error.get("type") if str(code).isdecimal() else code
    return word[:WORD_CHARS] if isinstance(word, str) and word else JobErrorCode.PROVIDER_ERROR


def message_of(body: object) -> str:
    """Return the message in an error's body, wherever it is; "" where there is none.

    It is OpenAI's `message`, others' `detail`, `error` or `msg`, or the body itself; of a list, FastAPI's for example, all of
    them; of a page its title.
    """
    if isinstance(body, str):
        return _page_message(body) if body.lstrip().startswith("<") else body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_of_list, body)))
    texts = (message_of(body.get(name)) for name in _MESSAGES) if isinstance(body, dict) else iter(())
    return next(filter(None, texts), "")


def _of_list(part: object) -> str:
    """Return a message in a list, behind the place that it is about."""
    message = message_of(part) if isinstance(part, dict | str) else ""
    place = part.get("loc") if isinstance(part, dict) else None
    return f"{'.'.join(map(str, place))}: {message}" if message and isinstance(place, list) else message


def _page_message(page: str) -> str:
    title = _TITLE.search(page[:MAX_PAGE_BYTES])
    text = " ".join(html.unescape(title[1]).split()) if title else ""
    return f"The provider sent a page in place of an answer: {text or 'it has no title'}."


def _innermost(error: BaseException) -> BaseException:
    """Return the first cause: the SDK's own message is only «Connection error.»."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


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
