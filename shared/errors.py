"""The error tree: one root; each class has an HTTP status, a type and a code in OpenAI's vocabulary, and a sentence.

ChatrelayError
├── ConfigurationError
├── RequestError            the caller's fault, 4xx
│   ├── InvalidRequest  Unauthorized  Forbidden  NotFound  Conflict  TooLarge  UnsupportedMedia  RateLimited
└── Unavailable             ours, and passing, 503
    ├── QueueFull
    └── DatabaseUnavailable
"""

from http import HTTPStatus
from typing import ClassVar


class ChatrelayError(Exception):
    """Something went wrong in Chatrelay."""

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None, *, param: str | None = None, code: str | None = None) -> None:
        """Say what happened; without a message the class' own sentence is the message."""
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.param = param
        self.reason = code or self.code
        super().__init__(self.message)


class ConfigurationError(ChatrelayError):
    """A setting is missing or wrong."""


class RequestError(ChatrelayError):
    """The request cannot be carried out as it stands."""

    status = HTTPStatus.BAD_REQUEST
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidRequest(RequestError):
    """A part of the request is missing or wrong."""


class Unauthorized(RequestError):
    """The credentials are missing, wrong or expired."""

    status = HTTPStatus.UNAUTHORIZED
    type = "authentication_error"
    code = "unauthorized"


class Forbidden(RequestError):
    """The credentials do not allow this."""

    status = HTTPStatus.FORBIDDEN
    type = "permission_error"
    code = "forbidden"


class NotFound(RequestError):
    """There is nothing here under this id."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"


class Conflict(RequestError):
    """The request contradicts what is already there."""

    status = HTTPStatus.CONFLICT
    code = "conflict"


class UnsupportedMedia(RequestError):
    """The request's body is in a form that is not understood here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media"


class TooLarge(RequestError):
    """The request is too large."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too_large"


class RateLimited(RequestError):
    """Too many requests."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 1, code: str | None = None) -> None:
        """Say when to come back."""
        super().__init__(message, code=code)
        self.retry_after_seconds = max(1, retry_after_seconds)


class Unavailable(ChatrelayError):
    """A part of the service is away; try again shortly."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
    retry_after_seconds: ClassVar[int] = 2


class QueueFull(Unavailable):
    """Too many jobs are waiting; try again shortly."""

    code = "queue_full"
    retry_after_seconds = 10


class DatabaseUnavailable(Unavailable):
    """The database is away or too busy; try again shortly."""
