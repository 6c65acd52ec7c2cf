"""What a worker asks an agent, and what came of it: the messages between a worker and the process that holds the agent's socket."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import orjson

from shared.agents.presence import ASK_SLACK_SECONDS
from shared.config import Settings

AGENT_MODEL = "agent"
"""The name of the model by which a job asks for an agent."""
REQUEST_FIELDS = ("message_id", "conversation_id", "parent_id", "content")
"""What an agent is asked, in the order in which it is sent."""
ANSWER_FIELDS = ("id", "response_id", "conversation_id", "content", "error")
"""What an agent answers; all of it may be missing."""


class Trouble(StrEnum):
    """Why an agent gave no answer; these are error codes of jobs."""

    NONE = "agent_none"  # No agent is connected, or none was idle in time.
    PING_FAILED = "agent_ping_failed"  # The agent did not answer its ping, or was not free in time.
    GONE = "agent_gone"  # The agent of this conversation is not connected.
    SEND_FAILED = "agent_send_failed"  # The question could not be sent.
    READ_FAILED = "agent_read_failed"  # It hung up, said what is no message, or nothing in time.
    WRONG_REPLY = "agent_wrong_reply"  # It answered something else.
    BAD_ANSWER = "agent_bad_answer"  # It reported an error of its own, or its answer cannot be read.
    UNREACHABLE = "agent_unreachable"  # Redis, through which agents are reached, is away.


_ASK = b"ask "
_EVICTION = b"evict "


@dataclass(frozen=True)
class Ask:
    """A question for one agent, sent to the process that holds its socket.

    `opens` says that it begins a conversation: then another agent may be asked instead.
    """

    id: str
    worker: str
    connection: str
    opens: bool
    request: dict[str, str]

    def letter(self) -> bytes:
        """Write it, to be sent to the process."""
        return _ASK + orjson.dumps(asdict(self))


@dataclass(frozen=True)
class Outcome:
    """What came of an ask: `answer` with all of ANSWER_FIELDS, or the trouble there was.

    `message` says it for people. `details` are for who must tell it in the agents' own dialect: `err`, what went wrong with the
    socket, and `response`, the agent's message. `has_left` says that the agent's connection is gone.
    """

    answer: dict[str, str] | None = None
    trouble: Trouble | None = None
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    has_left: bool = False

    def packed(self) -> bytes:
        """Write it."""
        return orjson.dumps(asdict(self))

    @classmethod
    def read(cls, message: bytes) -> Self:
        """Read it."""
        fields = orjson.loads(message)
        trouble = fields.pop("trouble")
        return cls(**fields, trouble=Trouble(trouble) if trouble else None)


def eviction(connection: str) -> bytes:
    """Write to a process that one of its connections has lost its agent's id to another."""
    return _EVICTION + connection.encode()


def letter(message: bytes) -> Ask | str:
    """Read what was sent to a process: an ask, or the connection that is to be evicted.

    Raises:
        ValueError, TypeError: it is neither.
    """
    if message.startswith(_EVICTION):
        return message.removeprefix(_EVICTION).decode()
    return Ask(**orjson.loads(message.removeprefix(_ASK)))


def most_ms(config: Settings) -> int:
    """Tell how long an ask may take, in milliseconds."""
    return int((config.agent_ping_seconds + config.agent_answer_seconds + ASK_SLACK_SECONDS) * 1000)
