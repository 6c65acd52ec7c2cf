"""Agents in Redis: registered, refreshed, claimed, released; each change whole, whatever changes at the same time."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from dev.testing.stack import Redis, wait_until
from shared.agents import claims, presence
from shared.agents.claims import Claim, ClaimVerdict
from shared.agents.presence import AgentLocation, Command, ConnectedAgent
from shared.redis import keyspace

REQUEST_MS = 60_000


class Agents:
    """The agents of one Redis."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client

    def do(self, command: Command) -> Any:
        return self.client.execute_command(*command)

    def join(self, agent_id: str, connection: str = "c1", used_us: int = 0) -> AgentLocation | None:
        return presence.read_location(self.do(presence.join_command(agent(agent_id, connection, used_us))))

    def refresh(self, agent_id: str, connection: str = "c1", request_id: str = "", used_us: int = 0) -> bool:
        return bool(self.do(presence.refresh_command(agent(agent_id, connection, used_us), request_id, REQUEST_MS)))

    def leave(self, agent_id: str, connection: str = "c1") -> None:
        self.do(presence.leave_command(agent_id, connection))

    def claim(self, request_id: str, agent_id: str | None = None, *passed_over: str) -> Claim:
        return claims.read_claim(self.do(claims.claim_command(request_id, agent_id, passed_over)))

    def ids(self) -> list[str]:
        return [each.agent_id for each in presence.connected_agents(self.client)]


def agent(agent_id: str, connection: str = "c1", used_us: int = 0) -> ConnectedAgent:
    return ConnectedAgent(agent_id, AgentLocation("api_1", connection, 17), used_us)


@pytest.fixture
def agents(empty_redis: Redis) -> Agents:
    return Agents(empty_redis.client)


def test_an_agent_is_where_it_joined_last(agents: Agents) -> None:
    assert agents.join("a") is None
    assert agents.join("a", "c2") == AgentLocation("api_1", "c1", 17)
    assert presence.connected_agents(agents.client) == [agent("a", "c2")]
    # The older connection can neither refresh its presence nor end the newer one's
    assert not agents.refresh("a", "c1")
    agents.leave("a", "c1")
    assert agents.refresh("a", "c2")
    assert agents.ids() == ["a"]
    agents.leave("a", "c2")
    assert agents.ids() == []
    assert agents.client.keys("*") == []


def test_an_agent_that_nobody_refreshes_is_gone(agents: Agents) -> None:
    agents.join("a")
    assert 0 < agents.client.pttl(keyspace.agent_key("a")) <= presence.PRESENCE_MS
    agents.client.pexpire(keyspace.agent_key("a"), 1)
    wait_until(lambda: agents.ids() == [], "the agent to be gone")
    assert agents.claim("request").verdict is ClaimVerdict.NONE
    assert agents.client.zcard(keyspace.AGENTS_KEY) == 0


def test_never_used_agents_come_first_then_the_least_recently_used(agents: Agents) -> None:
    for agent_id in ("a", "b"):
        agents.join(agent_id)
    order = []
    for number in range(4):
        claim = agents.claim(f"request_{number}")
        order.append(claim.agent_id)
        agents.do(claims.withdraw_command(claim.agent_id, f"request_{number}"))
    assert order == ["a", "b", "a", "b"]
    agents.join("c")
    assert agents.claim("request").agent_id == "c"


def test_a_claimed_agent_is_busy_until_it_is_released(agents: Agents) -> None:
    agents.join("a")
    assert agents.claim("request_1") == Claim(ClaimVerdict.CLAIMED, "a", AgentLocation("api_1", "c1", 17))
    assert agents.claim("request_2").verdict is ClaimVerdict.BUSY
    assert agents.claim("request_2", "a").verdict is ClaimVerdict.BUSY
    assert agents.do(claims.withdraw_command("a", "request_2")) == 1  # it is not theirs to release
    assert agents.claim("request_2").verdict is ClaimVerdict.BUSY
    assert agents.do(claims.withdraw_command("a", "request_1")) == 1
    assert agents.claim("request_2", "a").verdict is ClaimVerdict.CLAIMED
    # A claim that nobody accepts expires by itself
    assert 0 < agents.client.pttl(keyspace.agent_busy_key("a")) <= claims.CLAIM_MS


def test_one_that_is_needed_and_those_that_are_passed_over(agents: Agents) -> None:
    for agent_id in ("a", "b", ""):
        agents.join(agent_id)
    assert agents.claim("request_1", "b").agent_id == "b"
    assert agents.claim("request_2", "").agent_id == ""
    assert agents.claim("request_3", "unknown").verdict is ClaimVerdict.NONE
    assert agents.claim("request_4", None, "a").verdict is ClaimVerdict.BUSY
    assert agents.claim("request_4", None, "b", "").agent_id == "a"


def test_no_two_claim_the_same(agents: Agents) -> None:
    for number in range(10):
        agents.join(f"agent {number}")
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda number: agents.claim(f"request_{number}"), range(30)))
    claimed = [each.agent_id for each in results if each.verdict is ClaimVerdict.CLAIMED]
    assert sorted(claimed) == [f"agent {number}" for number in range(10)]


def test_an_accepted_request_lasts_and_cannot_be_withdrawn(agents: Agents) -> None:
    agents.join("a")
    agents.claim("request_1")
    notices = agents.client.pubsub(ignore_subscribe_messages=True)
    notices.subscribe(keyspace.agent_notice_channel("w"))
    assert agents.do(claims.accept_command("a", "request_1", "w", REQUEST_MS)) == 1
    assert agents.client.pttl(keyspace.agent_busy_key("a")) > claims.CLAIM_MS
    assert agents.do(claims.withdraw_command("a", "request_1")) == 0
    # One that is not the agent's any more is refused
    assert agents.do(claims.accept_command("a", "request_0", "w", REQUEST_MS)) == 0
    # The end releases the agent, and the result stays for its worker
    agents.do(claims.finish_command("a", "request_1", "w", b"result"))
    assert agents.do(claims.withdraw_command("a", "request_1")) == 0
    assert agents.client.get(keyspace.agent_result_key("request_1")) == b"result"
    assert agents.claim("request_2").agent_id == "a"
    # The end of a request that was lost leaves the next one alone
    agents.do(claims.finish_command("a", "request_1", "w", b"again"))
    assert agents.claim("request_3").verdict is ClaimVerdict.BUSY
    received: list[bytes] = []
    wait_until(lambda: _receive(notices, received) == 4, "the notices")
    assert received == [b"accepted request_1", b"refused request_0", b"settled request_1", b"settled request_1"]
    assert [claims.read_status(message)[1] for message in received] == ["request_1", "request_0", "request_1", "request_1"]
    notices.close()


def _receive(notices: Any, received: list[bytes]) -> int:
    while message := notices.get_message():
        received.append(message["data"])
    return len(received)


def test_an_agent_that_joins_is_idle_whatever_it_worked_on(agents: Agents) -> None:
    agents.join("a")
    agents.claim("request_1")
    agents.join("a", "c2")
    assert agents.claim("request_2").agent_id == "a"


def test_after_redis_was_emptied_all_is_registered_again(agents: Agents) -> None:
    for agent_id in ("a", "b"):
        agents.join(agent_id)
    agents.client.flushall()
    assert agents.refresh("a", request_id="request_1", used_us=5)
    assert agents.refresh("b", used_us=9)
    assert presence.connected_agents(agents.client) == [agent("a", used_us=5), agent("b", used_us=9)]
    # What an agent works on is known again, too
    assert agents.claim("request_2").agent_id == "b"
    assert agents.client.get(keyspace.agent_busy_key("a")) == b"request_1"
    # A refresh later changes nothing of that
    assert agents.refresh("b", request_id="request_9")
    assert agents.client.get(keyspace.agent_busy_key("b")) == b"request_2"
