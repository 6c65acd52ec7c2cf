"""Agents in Redis: seated, kept, taken, let go; each change whole, whoever else is at it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from dev.testing.stack import Redis, wait_until
from shared import keyspace
from shared.agents import presence
from shared.agents.presence import Command, Member, Seat, Taken, Verdict

ASK_MS = 60_000


class Pool:
    """The agents of one Redis."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client

    def do(self, command: Command) -> Any:
        return self.client.execute_command(*command)

    def join(self, agent_id: str, connection: str = "c1", used_us: int = 0) -> Seat | None:
        return presence.seat_of(self.do(presence.join_command(member(agent_id, connection, used_us))))

    def keep(self, agent_id: str, connection: str = "c1", ask_id: str = "", used_us: int = 0) -> bool:
        return bool(self.do(presence.keep_command(member(agent_id, connection, used_us), ask_id, ASK_MS)))

    def leave(self, agent_id: str, connection: str = "c1") -> None:
        self.do(presence.leave_command(agent_id, connection))

    def take(self, ask_id: str, wanted: str | None = None, *passed_over: str) -> Taken:
        return presence.taken(self.do(presence.take_command(ask_id, wanted, passed_over)))

    def ids(self) -> list[str]:
        return [each.agent_id for each in presence.members(self.client)]


def member(agent_id: str, connection: str = "c1", used_us: int = 0) -> Member:
    return Member(agent_id, Seat("api_1", connection, 17), used_us)


@pytest.fixture
def pool(empty_redis: Redis) -> Pool:
    return Pool(empty_redis.client)


def test_an_agent_sits_where_it_joined_last(pool: Pool) -> None:
    assert pool.join("a") is None
    assert pool.join("a", "c2") == Seat("api_1", "c1", 17)
    assert presence.members(pool.client) == [member("a", "c2")]
    # The older connection can neither keep the seat nor take it along
    assert not pool.keep("a", "c1")
    pool.leave("a", "c1")
    assert pool.keep("a", "c2")
    assert pool.ids() == ["a"]
    pool.leave("a", "c2")
    assert pool.ids() == []
    assert pool.client.keys("*") == []


def test_an_agent_that_nobody_speaks_of_is_gone(pool: Pool) -> None:
    pool.join("a")
    assert 0 < pool.client.pttl(keyspace.agent_key("a")) <= presence.PRESENCE_MS
    pool.client.pexpire(keyspace.agent_key("a"), 1)
    wait_until(lambda: pool.ids() == [], "the agent to be gone")
    assert pool.take("ask").verdict is Verdict.NONE
    assert pool.client.zcard(keyspace.AGENTS_KEY) == 0


def test_never_used_agents_come_first_then_who_was_used_longest_ago(pool: Pool) -> None:
    for agent_id in ("a", "b"):
        pool.join(agent_id)
    order = []
    for number in range(4):
        taken = pool.take(f"ask_{number}")
        order.append(taken.agent_id)
        pool.do(presence.withdraw_command(taken.agent_id, f"ask_{number}"))
    assert order == ["a", "b", "a", "b"]
    pool.join("c")
    assert pool.take("ask").agent_id == "c"


def test_a_taken_agent_is_busy_until_it_is_let_go(pool: Pool) -> None:
    pool.join("a")
    assert pool.take("ask_1") == Taken(Verdict.TAKEN, "a", Seat("api_1", "c1", 17))
    assert pool.take("ask_2").verdict is Verdict.BUSY
    assert pool.take("ask_2", "a").verdict is Verdict.BUSY
    assert pool.do(presence.withdraw_command("a", "ask_2")) == 1  # it is not theirs to let go
    assert pool.take("ask_2").verdict is Verdict.BUSY
    assert pool.do(presence.withdraw_command("a", "ask_1")) == 1
    assert pool.take("ask_2", "a").verdict is Verdict.TAKEN
    # A lock that nobody accepts runs out by itself
    assert 0 < pool.client.pttl(keyspace.agent_busy_key("a")) <= presence.ACCEPT_MS


def test_one_that_is_wanted_and_those_that_are_passed_over(pool: Pool) -> None:
    for agent_id in ("a", "b", ""):
        pool.join(agent_id)
    assert pool.take("ask_1", "b").agent_id == "b"
    assert pool.take("ask_2", "").agent_id == ""
    assert pool.take("ask_3", "unknown").verdict is Verdict.NONE
    assert pool.take("ask_4", None, "a").verdict is Verdict.BUSY
    assert pool.take("ask_4", None, "b", "").agent_id == "a"


def test_no_two_take_the_same(pool: Pool) -> None:
    for number in range(10):
        pool.join(f"agent {number}")
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda number: pool.take(f"ask_{number}"), range(30)))
    got = [each.agent_id for each in taken if each.verdict is Verdict.TAKEN]
    assert sorted(got) == [f"agent {number}" for number in range(10)]


def test_an_accepted_ask_lasts_and_cannot_be_withdrawn(pool: Pool) -> None:
    pool.join("a")
    pool.take("ask_1")
    news = pool.client.pubsub(ignore_subscribe_messages=True)
    news.subscribe(keyspace.agent_news_channel("w"))
    assert pool.do(presence.accept_command("a", "ask_1", "w", ASK_MS)) == 1
    assert pool.client.pttl(keyspace.agent_busy_key("a")) > presence.ACCEPT_MS
    assert pool.do(presence.withdraw_command("a", "ask_1")) == 0
    # One that is not the agent's any more is refused
    assert pool.do(presence.accept_command("a", "ask_0", "w", ASK_MS)) == 0
    # The end lets the agent go, and the outcome stays for its worker
    pool.do(presence.settle_command("a", "ask_1", "w", b"outcome"))
    assert pool.do(presence.withdraw_command("a", "ask_1")) == 0
    assert pool.client.get(keyspace.agent_outcome_key("ask_1")) == b"outcome"
    assert pool.take("ask_2").agent_id == "a"
    # The end of an ask that was lost leaves the next one alone
    pool.do(presence.settle_command("a", "ask_1", "w", b"again"))
    assert pool.take("ask_3").verdict is Verdict.BUSY
    heard: list[bytes] = []
    wait_until(lambda: _hear(news, heard) == 4, "the news")
    assert heard == [b"accepted ask_1", b"refused ask_0", b"settled ask_1", b"settled ask_1"]
    assert [presence.heard_news(message)[1] for message in heard] == ["ask_1", "ask_0", "ask_1", "ask_1"]
    news.close()


def _hear(news: Any, heard: list[bytes]) -> int:
    while message := news.get_message():
        heard.append(message["data"])
    return len(heard)


def test_who_joins_is_idle_whatever_it_was_at(pool: Pool) -> None:
    pool.join("a")
    pool.take("ask_1")
    pool.join("a", "c2")
    assert pool.take("ask_2").agent_id == "a"


def test_after_redis_was_emptied_all_is_told_again(pool: Pool) -> None:
    for agent_id in ("a", "b"):
        pool.join(agent_id)
    pool.client.flushall()
    assert pool.keep("a", ask_id="ask_1", used_us=5)
    assert pool.keep("b", used_us=9)
    assert presence.members(pool.client) == [member("a", used_us=5), member("b", used_us=9)]
    # What an agent is at is known again, too
    assert pool.take("ask_2").agent_id == "b"
    assert pool.client.get(keyspace.agent_busy_key("a")) == b"ask_1"
    # A look later tells nothing new of that
    assert pool.keep("b", ask_id="ask_9")
    assert pool.client.get(keyspace.agent_busy_key("b")) == b"ask_2"
