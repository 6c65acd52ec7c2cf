"""Presence: the agents that are connected, as Redis knows them, and where each one's socket is.

An agent is present for as long as the process that holds its socket refreshes it, every second; that process alone adds and removes
it.
Each change is one script, so that two processes never both have an agent.

The commands are for either kind of client, blocking or asyncio: `execute_command(*command)`. The scripts make names of keys, so
this is not for a cluster.
"""

from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis

from shared.redis import keyspace

REFRESH_SECONDS = 1.0
"""How often a process refreshes its agents' presence."""
PRESENCE_MS = 5_000
"""An agent whose presence was not refreshed for so long is gone."""

_ROOM = Path(__file__).parent
_JOIN = (_ROOM / "join.lua").read_text(encoding="utf-8")
_REFRESH = (_ROOM / "refresh.lua").read_text(encoding="utf-8")
_LEAVE = (_ROOM / "leave.lua").read_text(encoding="utf-8")

Command = tuple[Any, ...]


class AgentLocation(NamedTuple):
    """Where an agent's socket is: an API process, one of its connections; and when the agent last answered well (us since 1970)."""

    process: str
    connection: str
    answered_us: int

    def __str__(self) -> str:
        """Return it as Redis keeps it."""
        return f"{self.process} {self.connection} {self.answered_us}"


class ConnectedAgent(NamedTuple):
    """An agent that is present, and when it was last sent a request (us since 1970; 0: never)."""

    agent_id: str
    location: AgentLocation
    used_us: int


def join_command(agent: ConnectedAgent) -> Command:
    """Register an agent, idle, in place of an earlier connection under its id. Answers the location before, for `read_location`."""
    return ("EVAL", _JOIN, 3, *_keys(agent.agent_id), *_registration(agent))


def refresh_command(agent: ConnectedAgent, request_id: str, request_ms: int) -> Command:
    """Keep an agent registered, with the request that it works on ("": none) for so many milliseconds.

    Answers 0 if another connection has its id now.
    """
    return ("EVAL", _REFRESH, 3, *_keys(agent.agent_id), *_registration(agent), agent.location.connection, request_id, request_ms)


def leave_command(agent_id: str, connection: str) -> Command:
    """Remove an agent whose connection has ended; another connection under its id stays."""
    return ("EVAL", _LEAVE, 2, keyspace.AGENTS_KEY, keyspace.agent_key(agent_id), agent_id, connection)


def read_location(value: bytes | None) -> AgentLocation | None:
    """Read a location; None where there is none."""
    if value is None:
        return None
    process, connection, answered_us = value.decode().split(" ")
    return AgentLocation(process, connection, int(answered_us))


def connected_agents(client: Redis) -> list[ConnectedAgent]:
    """List the agents that are present, the one to be sent the next request first.

    Raises:
        RedisError: Redis is away.
    """
    rows: Any = client.zrange(keyspace.AGENTS_KEY, 0, -1, withscores=True)
    locations: Any = client.mget([keyspace.agent_key(agent_id.decode()) for agent_id, _ in rows]) if rows else []
    pairs = zip(rows, map(read_location, locations), strict=True)
    return [
        ConnectedAgent(agent_id.decode(), location, int(used_us)) for (agent_id, used_us), location in pairs if location is not None
    ]


def _keys(agent_id: str) -> tuple[str, str, str]:
    return keyspace.AGENTS_KEY, keyspace.agent_key(agent_id), keyspace.agent_busy_key(agent_id)


def _registration(agent: ConnectedAgent) -> tuple[Any, ...]:
    return agent.agent_id, str(agent.location), PRESENCE_MS, agent.used_us
