"""The provider protocol: one method, which yields chunks. What fails is a `ProviderError`."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple, Protocol

from shared.errors import ChatrelayError
from shared.json_types import JsonObject
from shared.models import Kind

COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
"""The counts of a usage that are kept."""

CUT_SHORT = frozenset({"length", "content_filter"})
"""Finish reasons that mean that the answer was not over."""


@dataclass(frozen=True)
class AgentPosition:
    """Where in an agent's own conversation a completion request belongs.

    `origin` is what the agent said of its last answer (`Message.origin`), None where no agent gave it; the ids are what the
    caller asked for, passed on as they are.
    """

    origin: JsonObject | None = None
    message_id: str | None = None
    parent_id: str | None = None


@dataclass(frozen=True)
class CompletionRequest:
    """What a provider is asked: OpenAI's chat messages, a model, and the parameters of chat completions.

    `api_key` is the user's own, None for the operator's. Of `MODERATION` the answer's text is the moderation object as JSON, of
    `EMBEDDING` the list of embeddings.
    With a `refusal` no provider is called: it is raised instead. `user_messages` are those of the messages that come from the user
    with this job, which moderation judges; None: the user's newest message.
    """

    model: str
    messages: list[JsonObject]
    parameters: JsonObject = field(default_factory=dict)
    kind: Kind = Kind.CHAT
    api_key: str | None = None
    position: AgentPosition = field(default_factory=AgentPosition)
    refusal: "ProviderError | None" = None
    user_messages: list[JsonObject] | None = None


class Chunk(NamedTuple):
    """What a provider sends at once: a choice's delta, its finish reason, the usage, and an agent's origin (`Message.origin`).

    Each may be missing; an empty chunk still is a sign of life. `logprobs` are those of the delta's tokens. Where there are several
    choices, `choice` is the number of the one that this is of, and `choice_reason` that one's finish reason: only the last chunk of
    all has a `finish_reason`.
    """

    delta: JsonObject | None = None
    finish_reason: str | None = None
    usage: JsonObject | None = None
    origin: JsonObject | None = None
    logprobs: JsonObject | None = None
    choice: int = 0
    choice_reason: str | None = None

    def is_last(self, was_last: bool = False) -> bool:
        """Return whether the answer is complete with this chunk: it has a finish reason, or follows a last one and adds nothing.

        Some providers send a reason with every chunk, or an empty one; `was_last` is what this returned for the chunk before.
        """
        if self.finish_reason:
            return True
        return was_last and not self.has_content()

    def has_content(self) -> bool:
        """Return whether its delta has anything but a role."""
        return any(value for name, value in (self.delta or {}).items() if name != "role")


def wait_until(patience: asyncio.Timeout, moment: float | None) -> None:
    """Move the end of a time-out (by the loop's clock; None: no end), unless it is just ending."""
    if not patience.expired():
        patience.reschedule(moment)


class ProviderError(ChatrelayError):
    """The provider gave no answer, or its answer broke off.

    `http_status` is the provider's own, or None where there was none; `retry_after_seconds` is how long it wants us to wait;
    `details` are fields of the job's error besides code and message.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
        details: JsonObject | None = None,
        is_down: bool = False,
    ) -> None:
        """Keep what the provider sent; `is_down`: it is not there, or says that it serves nobody, and was asked at no price."""
        super().__init__(message, code=code)
        self.retryable = retryable
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds
        self.details = details or {}
        self.is_down = is_down

    def fields(self) -> JsonObject:
        """Return the job's error: code, message, details, and the provider's own status where there was one.

        Who called too often is also told how long the provider wants its callers to wait.
        """
        error = {"code": self.reason, "message": self.message, **self.details}
        if self.http_status is None:
            return error
        waits = self.http_status == HTTPStatus.TOO_MANY_REQUESTS and (self.retry_after_seconds or 0) > 0
        wait: JsonObject = {"retry_after_seconds": self.retry_after_seconds} if waits else {}
        return {**error, "provider_status": self.http_status, **wait}


class Provider(Protocol):
    """What answers completion requests."""

    def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the answer's chunks, one of which has a `finish_reason`. Closing the generator closes the connection.

        Raises:
            ProviderError: there is no answer, or it broke off.
        """
        ...
