"""What a client wants done, before it is a job: a value that every route and dialect makes of its requests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.errors import InvalidRequest
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Kind, ObjectType, OnInterrupt


class ParamNames(NamedTuple):
    """What a dialect calls the fields that a text may come from."""

    turn: str = "message"
    system: str = "system"


OWN_NAMES = ParamNames()


@dataclass(frozen=True)
class Place:
    """Where a turn belongs: in a conversation, and there after the message `parent_id`, else after the last answer.

    `conversation_id` may be any name of the conversation; None is a new one. With `may_create`, a name that is unknown becomes the
    name of a new one. `title`, and the system prompt `initial_prompt`, are for a new conversation.
    """

    conversation_id: str | None = None
    parent_id: str | None = None
    may_create: bool = False
    title: str | None = None
    initial_prompt: str | None = None


NEW_CONVERSATION = Place()


@dataclass(frozen=True)
class Submission:
    """What a client wants done: a `turn` of messages at a `place` in a conversation; or `messages` alone, the whole context.

    `agent` holds the ids that an agent is to use (`message_id`, `parent_id`), passed on as they are. A new conversation keeps
    `system` as its own prompt, unless it is for this job only (`stores_system`). `wire` and `wire_request` are as what the job is
    known in its dialect, and what else its request held; a job that is not `stored` is deleted soon after its end. `param_names`
    are the dialect's names of fields, for errors.
    """

    turn: Sequence[JsonObject] = ()
    place: Place = NEW_CONVERSATION
    messages: list[JsonObject] | None = None
    kind: Kind = Kind.CHAT
    agent: dict[str, str] | None = None
    model: str | None = None
    system: str | None = None
    stores_system: bool = True
    metadata: dict[str, str] = field(default_factory=dict)
    on_interrupt: OnInterrupt = OnInterrupt.RESTART
    parameters: JsonObject = field(default_factory=dict)
    wire: ObjectType = ObjectType.JOB
    wire_request: JsonObject | None = None
    stored: bool = True
    param_names: ParamNames = OWN_NAMES

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield every text of the submission, with the name of the request's field that it came from."""
        for message in self.turn:
            yield self.param_names.turn, text_of(message)
        if self.system is not None:
            yield self.param_names.system, self.system
        for index, message in enumerate(self.messages or ()):
            yield f"messages.{index}.content", text_of(message)

    def stored_request(self) -> JsonObject:
        """Return what a worker needs to know of it: the row's `request`."""
        request: JsonObject = {"parameters": self.parameters, "system": self.system}
        if self.messages is not None:
            request["messages"] = self.messages
        if self.agent is not None:
            request["agent"] = self.agent
        if len(self.turn) > 1:
            request["turn_messages"] = len(self.turn)
        return request


def check_length(name: str, text: str, most: int) -> None:
    """Check the length of a text.

    Raises:
        InvalidRequest: it is longer; `name` is the field.
    """
    if len(text) > most:
        raise InvalidRequest(f"{name} is longer than {most} characters.", param=name, code="string_above_max_length")
