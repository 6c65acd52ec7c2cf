"""Claims on agents: a worker claims an idle agent for a request, the process that holds the agent accepts it, and finishes it.

A claim is a lock that names the request and expires by itself: soon until the request is accepted, then only after the time that a
request may take. Each change is one script, so that two workers never both have an agent. The commands are for either kind of
client, as in `presence.py`.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from shared.agents.presence import AgentLocation, Command, read_location
from shared.redis import keyspace

ACCEPT_SECONDS = 2.0
"""A process that holds an agent accepts a request at once; one that does not in this time is stuck or gone."""
CLAIM_MS = 5_000
"""How long an agent stays claimed for a request that nobody has accepted."""
RESULT_MS = 60_000
"""How long a result waits for its worker."""

_ROOM = Path(__file__).parent
_CLAIM = (_ROOM / "claim.lua").read_text(encoding="utf-8")
_WITHDRAW = (_ROOM / "withdraw.lua").read_text(encoding="utf-8")
_ACCEPT = (_ROOM / "accept.lua").read_text(encoding="utf-8")
_FINISH = (_ROOM / "finish.lua").read_text(encoding="utf-8")


class ClaimVerdict(StrEnum):
    """What comes of an attempt to claim an agent."""

    CLAIMED = "taken"  # An agent is claimed.
    BUSY = "busy"  # Agents are connected, but none that may be claimed is idle.
    NONE = "none"  # No agent is connected; or not the one that is needed.


class Claim(NamedTuple):
    """The answer to `claim_command`; agent and location where one is claimed."""

    verdict: ClaimVerdict
    agent_id: str = ""
    location: AgentLocation | None = None


class RequestStatus(StrEnum):
    """What a worker is notified of."""

    ACCEPTED = "accepted"  # The process that holds the agent works on the request.
    REFUSED = "refused"  # The agent is gone, or not free; it was sent nothing.
    FINISHED = "settled"  # The result can be read.


def claim_command(request_id: str, agent_id: str | None, passed_over: Iterable[str] = ()) -> Command:
    """Claim an idle agent for a request: that one, or any (None), the one that was used longest ago. Answers for `read_claim`."""
    fixed = (request_id, CLAIM_MS, keyspace.AGENT_PREFIX, keyspace.AGENT_BUSY_PREFIX)
    which = ("any", *passed_over) if agent_id is None else ("one", agent_id)
    return ("EVAL", _CLAIM, 1, keyspace.AGENTS_KEY, *fixed, *which)


def withdraw_command(agent_id: str, request_id: str) -> Command:
    """Release an agent that was sent nothing yet. Answers 0 if the request was accepted after all: then it goes on."""
    keys = (keyspace.agent_busy_key(agent_id), keyspace.agent_result_key(request_id))
    return ("EVAL", _WITHDRAW, 2, *keys, request_id, CLAIM_MS)


def accept_command(agent_id: str, request_id: str, worker: str, request_ms: int) -> Command:
    """Accept a request, and notify its worker. Answers 0 if the agent is claimed for it no more: then it must not be sent."""
    keys = (keyspace.agent_busy_key(agent_id),)
    return ("EVAL", _ACCEPT, 1, *keys, request_id, request_ms, keyspace.agent_notice_channel(worker))


def finish_command(agent_id: str, request_id: str, worker: str, result: bytes) -> Command:
    """Store a request's result for its worker, release the agent, and notify the worker."""
    keys = (keyspace.agent_busy_key(agent_id), keyspace.agent_result_key(request_id))
    return ("EVAL", _FINISH, 2, *keys, request_id, result, RESULT_MS, keyspace.agent_notice_channel(worker))


def read_claim(reply: Any) -> Claim:
    """Read the answer to `claim_command`."""
    verdict = ClaimVerdict(reply[0].decode())
    return Claim(verdict, reply[1].decode(), read_location(reply[2])) if verdict is ClaimVerdict.CLAIMED else Claim(verdict)


def write_status(status: RequestStatus, request_id: str) -> str:
    """Write a notice for a worker."""
    return f"{status} {request_id}"


def read_status(message: bytes) -> tuple[RequestStatus, str]:
    """Read a notice: a status, and the request that has it."""
    status, _, request_id = message.decode().partition(" ")
    return RequestStatus(status), request_id
