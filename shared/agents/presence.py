"""The agents that are there, in Redis: where each one's socket is, what it is at, and who is asked next.

An agent is there for as long as the process that holds its socket says so, every second; that process alone adds and removes it.
Who wants to ask it takes it first: a lock that names the ask and runs out by itself. The lock is short until the process has
accepted the ask, and then lasts as long as an ask may. Each change is one script, so that two processes, or two workers, never both
have it.

Everything here is a command for either kind of client, as in `shared/log/stream.py`. The scripts make names of keys, so this is
not for a cluster.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from redis import Redis

from shared import keyspace

KEEP_SECONDS = 1.0
"""A process says so often that its agents are there."""
PRESENCE_MS = 5_000
"""An agent that nobody speaks of for so long is gone."""
ACCEPT_SECONDS = 2.0
"""A process that holds an agent accepts an ask at once; one that does not in this time is stuck or gone."""
ACCEPT_MS = 5_000
"""How long an agent stays taken for an ask that nobody has accepted."""
OUTCOME_MS = 60_000
ASK_SLACK_SECONDS = 5.0
"""What an ask may take beyond its ping and its answer."""

_CONNECTION = r"local function connection(seat) return string.match(seat, '^%S+ (%S+)') end"

_JOIN = """
-- KEYS[1] the agents  [2] where this one is  [3] what it is at
-- ARGV[1] its id  [2] its seat  [3] expiry, ms  [4] its last use, us.  Answers the seat before
local before = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], 'NX', ARGV[4], ARGV[1])
redis.call('DEL', KEYS[3])
return before
"""

_KEEP = f"""
-- KEYS, ARGV[1...4] as in JOIN  [5] its connection  [6] the ask it is at, or ''  [7] expiry of that, ms
-- Answers 0 if another connection has its id
{_CONNECTION}
local before = redis.call('GET', KEYS[2])
if before and connection(before) ~= ARGV[5] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], 'NX', ARGV[4], ARGV[1])
if ARGV[6] ~= '' then redis.call('SET', KEYS[3], ARGV[6], 'NX', 'PX', ARGV[7]) end
return 1
"""

_LEAVE = f"""
-- KEYS[1] the agents  [2] where this one is
-- ARGV[1] its id  [2] its connection
{_CONNECTION}
local seat = redis.call('GET', KEYS[2])
if seat and connection(seat) == ARGV[2] then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
"""

_TAKE = """
-- KEYS[1] the agents
-- ARGV[1] the ask  [2] expiry, ms  [3] prefix of seats  [4] prefix of what agents are at
--     [5] 'one': [6] is the agent to take; 'any': [6...] are those to pass over
-- Answers {verdict, id, seat}
local candidates, passed = {ARGV[6]}, {}
if ARGV[5] == 'any' then
  candidates = redis.call('ZRANGE', KEYS[1], 0, -1)
  for i = 6, #ARGV do passed[ARGV[i]] = true end
end
local verdict = 'none'
for _, id in ipairs(candidates) do
  local seat = redis.call('GET', ARGV[3] .. id)
  if not seat then
    redis.call('ZREM', KEYS[1], id)
  else
    verdict = 'busy'
    if not passed[id] and redis.call('SET', ARGV[4] .. id, ARGV[1], 'NX', 'PX', ARGV[2]) then
      local now = redis.call('TIME')
      redis.call('ZADD', KEYS[1], 'XX', now[1] .. string.format('%06d', now[2]), id)
      return {'taken', id, seat}
    end
  end
end
return {verdict}
"""

_WITHDRAW = """
-- KEYS[1] what an agent is at  [2] the outcome
-- ARGV[1] the ask  [2] expiry before it was accepted, ms.  Answers 0 if it was accepted
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if redis.call('GET', KEYS[1]) == ARGV[1] then
  if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2]) then return 0 end
  redis.call('DEL', KEYS[1])
end
return 1
"""

_ACCEPT = """
-- KEYS[1] what the agent is at    ARGV[1] the ask  [2] expiry, ms  [3] the worker's channel.  Answers 1 if the ask stands
local stands = redis.call('GET', KEYS[1]) == ARGV[1]
if stands then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
redis.call('PUBLISH', ARGV[3], (stands and 'accepted ' or 'refused ') .. ARGV[1])
return stands and 1 or 0
"""

_SETTLE = """
-- KEYS[1] what the agent is at  [2] the outcome    ARGV[1] the ask  [2] what came of it  [3] expiry, ms  [4] the worker's channel
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('PUBLISH', ARGV[4], 'settled ' .. ARGV[1])
return 1
"""

Command = tuple[Any, ...]


class Seat(NamedTuple):
    """Where an agent's socket is: an API process, one of its connections; and when the agent last answered well (us since 1970)."""

    process: str
    connection: str
    heard_us: int

    def __str__(self) -> str:
        """Write it as Redis keeps it."""
        return f"{self.process} {self.connection} {self.heard_us}"


class Member(NamedTuple):
    """An agent that is there, and when it was last asked (us since 1970; 0: never)."""

    agent_id: str
    seat: Seat
    used_us: int


class Verdict(StrEnum):
    """What there is for an ask."""

    TAKEN = "taken"  # An agent, which is the ask's now.
    BUSY = "busy"  # Agents, but none that is idle and not to be passed over.
    NONE = "none"  # No agent at all; or not the one that was wanted.


class Taken(NamedTuple):
    """The answer to a wish for an agent; `seat` where there is one."""

    verdict: Verdict
    agent_id: str = ""
    seat: Seat | None = None


class News(StrEnum):
    """What a worker hears of an ask."""

    ACCEPTED = "accepted"  # The process that holds the agent is at it.
    REFUSED = "refused"  # The agent is not there, or not free; nothing was asked.
    SETTLED = "settled"  # The outcome is there to be read.


def join_command(member: Member) -> Command:
    """Seat an agent, idle; whoever sat under its id sits there no more. Answers the seat before, for `seat_of`."""
    return ("EVAL", _JOIN, 3, *_keys(member.agent_id), *_seating(member))


def keep_command(member: Member, ask_id: str, ask_ms: int) -> Command:
    """Say that an agent is still there, and what it is at. Answers 0 if another connection has its id now."""
    return ("EVAL", _KEEP, 3, *_keys(member.agent_id), *_seating(member), member.seat.connection, ask_id, ask_ms)


def leave_command(agent_id: str, connection: str) -> Command:
    """Say that a connection is no agent's any more; of another connection under its id, nothing is changed."""
    return ("EVAL", _LEAVE, 2, keyspace.AGENTS_KEY, keyspace.agent_key(agent_id), agent_id, connection)


def take_command(ask_id: str, wanted: str | None, passed_over: Iterable[str] = ()) -> Command:
    """Take an idle agent for an ask: the one that is wanted, or the one that was used longest ago. Answers for `taken`."""
    fixed = (ask_id, ACCEPT_MS, keyspace.AGENT_PREFIX, keyspace.AGENT_BUSY_PREFIX)
    which = ("any", *passed_over) if wanted is None else ("one", wanted)
    return ("EVAL", _TAKE, 1, keyspace.AGENTS_KEY, *fixed, *which)


def withdraw_command(agent_id: str, ask_id: str) -> Command:
    """Let an agent go that nobody has asked yet. Answers 0 if the ask was accepted after all: then it goes on."""
    keys = (keyspace.agent_busy_key(agent_id), keyspace.agent_outcome_key(ask_id))
    return ("EVAL", _WITHDRAW, 2, *keys, ask_id, ACCEPT_MS)


def accept_command(agent_id: str, ask_id: str, worker: str, ask_ms: int) -> Command:
    """Accept an ask, and tell its worker. Answers 0 if the agent is not taken for it any more: then it must not be asked."""
    return ("EVAL", _ACCEPT, 1, keyspace.agent_busy_key(agent_id), ask_id, ask_ms, keyspace.agent_news_channel(worker))


def settle_command(agent_id: str, ask_id: str, worker: str, outcome: bytes) -> Command:
    """Leave what came of an ask for its worker, let the agent go, and tell the worker."""
    keys = (keyspace.agent_busy_key(agent_id), keyspace.agent_outcome_key(ask_id))
    return ("EVAL", _SETTLE, 2, *keys, ask_id, outcome, OUTCOME_MS, keyspace.agent_news_channel(worker))


def news(kind: News, ask_id: str) -> str:
    """Write what a worker hears of an ask."""
    return f"{kind} {ask_id}"


def heard_news(message: bytes) -> tuple[News, str]:
    """Read what a worker hears of an ask."""
    kind, _, ask_id = message.decode().partition(" ")
    return News(kind), ask_id


def taken(reply: Any) -> Taken:
    """Read the answer to `take_command`."""
    verdict = Verdict(reply[0].decode())
    return Taken(verdict, reply[1].decode(), seat_of(reply[2])) if verdict is Verdict.TAKEN else Taken(verdict)


def seat_of(value: bytes | None) -> Seat | None:
    """Read a seat; None where there is none."""
    if value is None:
        return None
    process, connection, heard_us = value.decode().split(" ")
    return Seat(process, connection, int(heard_us))


def members(client: Redis) -> list[Member]:
    """List the agents that are there, the one to be asked next first."""
    listed: Any = client.zrange(keyspace.AGENTS_KEY, 0, -1, withscores=True)
    seats: Any = client.mget([keyspace.agent_key(agent_id.decode()) for agent_id, _ in listed]) if listed else []
    pairs = zip(listed, map(seat_of, seats), strict=True)
    return [Member(agent_id.decode(), seat, int(used_us)) for (agent_id, used_us), seat in pairs if seat is not None]


def _keys(agent_id: str) -> tuple[str, str, str]:
    return keyspace.AGENTS_KEY, keyspace.agent_key(agent_id), keyspace.agent_busy_key(agent_id)


def _seating(member: Member) -> tuple[Any, ...]:
    return member.agent_id, str(member.seat), PRESENCE_MS, member.used_us
