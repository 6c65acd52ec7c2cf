"""What a client wants done, before it is a job: a value that every route and dialect makes of its requests."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shared.errors import InvalidRequest
from shared.messages.text import text_of
from shared.models import Kind, ObjectType, OnInterrupt


class ParamNames(NamedTuple):
    """What a dialect calls the fields that a text may come from."""

    message: str = "message"
    leading: str = "input"
    system: str = "system"


OWN_NAMES = ParamNames()


@dataclass(frozen=True)
class Submission:
    """What a client wants done: a `message` in a conversation (a new one where none is named), or `messages` alone.

    `conversation_id` may be any name of the conversation; with `may_create`, one that is unknown becomes the name of a new
    one. The message follows `parent_id` where that is given, else the last answer. `title`, and the system prompt `initial_prompt`,
    are for a new conversation. `agent` holds the ids that an agent is to use (`message_id`, `parent_id`), passed on as they are.

    A turn of several messages has all but its last one in `leading`. A new conversation keeps `system` as its own prompt, unless it
    is for this job only (`stores_system`). `wire` and `wire_request` are as what the job is known in its dialect, and what
    else its request held; a job that is not `stored` is deleted soon after its end. `param_names` are the dialect's names of
    fields, for errors.
    """

    message: dict[str, Any] | None = None
    leading: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] | None = None
    conversation_id: str | None = None
    may_create: bool = False
    initial_prompt: str | None = None
    title: str | None = None
    parent_id: str | None = None
    kind: Kind = Kind.CHAT
    agent: dict[str, str] | None = None
    model: str | None = None
    system: str | None = None
    stores_system: bool = True
    metadata: dict[str, str] = field(default_factory=dict)
    on_interrupt: OnInterrupt = OnInterrupt.RESTART
    parameters: dict[str, Any] = field(default_factory=dict)
    wire: ObjectType = ObjectType.JOB
    wire_request: dict[str, Any] | None = None
    stored: bool = True
    param_names: ParamNames = OWN_NAMES

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield every text of the submission, with the name of the request's field that it came from."""
        if self.message is not None:
            yield self.param_names.message, text_of(self.message)
        for message in self.leading:
            yield self.param_names.leading, text_of(message)
        if self.system is not None:
            yield self.param_names.system, self.system
        for index, message in enumerate(self.messages or ()):
            yield f"messages.{index}.content", text_of(message)

    def stored_request(self) -> dict[str, Any]:
        """Return what a worker needs to know of it: the row's `request`."""
        request: dict[str, Any] = {"parameters": self.parameters, "system": self.system}
        if self.messages is not None:
            request["messages"] = self.messages
        if self.agent is not None:
            request["agent"] = self.agent
        if self.leading:
            request["turn_messages"] = len(self.leading) + 1
        return request


def check_length(name: str, text: str, most: int) -> None:
    """Check the length of a text.

    Raises:
        InvalidRequest: it is longer; `name` is the field.
    """
    if len(text) > most:
        raise InvalidRequest(f"{name} is longer than {most} characters.", param=name, code="string_above_max_length")
