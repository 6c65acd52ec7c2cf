"""The provider protocol: one method. Who answers, answers in pieces; what goes wrong is a ProviderError."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from shared.errors import ChatrelayError
from shared.models import Kind

COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
"""What of a usage is kept."""


@dataclass(frozen=True)
class AgentPosition:
    """Where in an agent's own conversation a completion request belongs.

    `origin` is what the agent said of its last answer (`Message.origin`), None where no agent gave it; the ids are what the
    caller asked for, passed on as they are.
    """

    origin: dict[str, Any] | None = None
    message_id: str | None = None
    parent_id: str | None = None


@dataclass(frozen=True)
class CompletionRequest:
    """What a model is asked: OpenAI's chat messages, and the parameters of chat completions that go along.

    `api_key` is the user's own, None for the operator's. Of `MODERATION` the answer's text is the moderation object as JSON.
    With a `refusal` no provider is called: it is raised instead. `user_messages` are those of the messages that come from the user
    with this job, which moderation judges; None: the user's newest message.
    """

    model: str
    messages: list[dict[str, Any]]
    parameters: dict[str, Any] = field(default_factory=dict)
    kind: Kind = Kind.CHAT
    api_key: str | None = None
    position: AgentPosition = field(default_factory=AgentPosition)
    refusal: "ProviderError | None" = None
    user_messages: list[dict[str, Any]] | None = None


class Chunk(NamedTuple):
    """What a provider says at once: a choice's delta, the reason it ended, the usage, where an agent's answer stands.

    Each may be missing; one that says nothing at all still says that the provider is at work.
    """

    delta: dict[str, Any] | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    origin: dict[str, Any] | None = None

    def is_last(self, was_last: bool = False) -> bool:
        """Tell whether nothing more is to be said behind this: there is a reason for the end, and no text came after it.

        Some providers give a reason with every piece, or an empty one; `was_last` is what the piece before this was.
        """
        if any(value for name, value in (self.delta or {}).items() if name != "role") and not self.finish_reason:
            return False
        return bool(self.finish_reason) or was_last


def wait_until(patience: asyncio.Timeout, moment: float | None) -> None:
    """Move the end of a wait (by the loop's clock; None: no end), unless it is ending at this very moment."""
    if not patience.expired():
        patience.reschedule(moment)


class ProviderError(ChatrelayError):
    """The provider gave no answer, or broke off.

    `http_status` is the provider's own, or None where there was none; `retry_after_seconds` what it asked for; `details` are told
    besides code and message.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Say what the provider said."""
        super().__init__(message, code=code)
        self.retryable = retryable
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds
        self.details = details or {}

    def fields(self) -> dict[str, Any]:
        """Tell it the client's way: code, message, and the provider's own status where there was one."""
        told: dict[str, Any] = {"code": self.reason, "message": self.message, **self.details}
        return told if self.http_status is None else {**told, "provider_status": self.http_status}


class Provider(Protocol):
    """Somebody who answers."""

    def answer(self, question: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Answer in pieces, the last of which carries a `finish_reason`. Closing the generator hangs up.

        Raises:
            ProviderError: there is no answer, or no more of it.
        """
        ...
