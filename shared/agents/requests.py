"""Agent requests and their results: the messages between a worker and the process that holds the agent's socket."""

from dataclasses import asdict, dataclass, field
from typing import Self

import orjson

from shared.config import Settings
from shared.json_types import JsonObject
from shared.models.error_codes import JobErrorCode

AGENT_MODEL = "agent"
"""The name of the model by which a job asks for an agent."""
REQUEST_FIELDS = ("message_id", "conversation_id", "parent_id", "content")
"""What an agent is sent, in this order."""
ANSWER_FIELDS = ("id", "response_id", "conversation_id", "content", "error")
"""What an agent answers; all of it may be missing."""
SLACK_SECONDS = 5.0
"""What a request may take beyond its ping and its answer."""

_REQUEST = b"ask "
_EVICTION = b"evict "


@dataclass(frozen=True)
class AgentRequest:
    """A completion request for one agent, sent to the process that holds its socket.

    `opens` says that it begins a conversation: then another agent may be sent it instead.
    """

    id: str
    worker: str
    connection: str
    opens: bool
    request: dict[str, str]

    def packed(self) -> bytes:
        """Return it as it is published to the process."""
        return _REQUEST + orjson.dumps(asdict(self))


@dataclass(frozen=True)
class AgentResult:
    """What came of a request: `answer` with all of ANSWER_FIELDS, or an error.

    `message` explains the error to people. `details` are for the agents' own dialect: `err`, what went wrong with the socket, and
    `response`, the agent's message. `has_left` says that the agent's connection is gone.
    """

    answer: dict[str, str] | None = None
    error: JobErrorCode | None = None
    message: str = ""
    details: JsonObject = field(default_factory=dict)
    has_left: bool = False

    def packed(self) -> bytes:
        """Return it as it is stored; there the error is called `trouble`."""
        fields = asdict(self)
        fields["trouble"] = fields.pop("error")
        return orjson.dumps(fields)

    @classmethod
    def read(cls, message: bytes) -> Self:
        """Read it."""
        fields = orjson.loads(message)
        error = fields.pop("trouble")
        return cls(**fields, error=JobErrorCode(error) if error else None)


def eviction(connection: str) -> bytes:
    """Return the message to a process that one of its connections has lost its agent's id to another."""
    return _EVICTION + connection.encode()


def read_message(message: bytes) -> AgentRequest | str:
    """Read what was published to a process: a request, or the connection that is to be closed.

    Raises:
        ValueError, TypeError: it is neither.
    """
    if message.startswith(_EVICTION):
        return message.removeprefix(_EVICTION).decode()
    return AgentRequest(**orjson.loads(message.removeprefix(_REQUEST)))


def max_request_ms(config: Settings) -> int:
    """Return how long a request may take, in milliseconds."""
    return int((config.agent_ping_seconds + config.agent_answer_seconds + SLACK_SECONDS) * 1000)
