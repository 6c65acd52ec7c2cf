"""What one API process tells Redis of its agents, and which connections it closes."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from api.agents import registry as registries
from api.agents.registry import Registry
from api.agents.session import Session
from api.agents.websocket import WebSocket
from dev.testing.stack import Redis, wait_until
from shared import keyspace, redis_clients
from shared.agents import presence
from shared.agents.presence import Verdict
from shared.agents.requests import Ask, Outcome

ASK_MS = 60_000


class Line:
    """Stands for a WebSocket; notes how it was closed."""

    def __init__(self) -> None:
        self.code: int | None = None

    def hang_up(self, code: int, reason: str) -> None:
        assert reason
        self.code = self.code or code


class Process:
    """One API process' registry, at work."""

    def __init__(self, redis: Redis, url: str | None = None) -> None:
        self.client = redis.client
        self.is_over = threading.Event()
        self.registry = Registry(redis_clients.blocking(url or redis.url), "api_1", ASK_MS, self.is_over.is_set)
        self.registry.start()

    def session(self, agent_id: str = "a") -> Session:
        return Session(cast("WebSocket", Line()), agent_id, None)

    def agent(self, agent_id: str = "a") -> Session:
        session = self.session(agent_id)
        self.registry.add(session)
        return session

    def seated(self) -> list[str]:
        return [member.seat.connection for member in presence.members(self.client)]

    def close(self) -> None:
        """Let go of all: the registry's thread lives on, and would speak of them in the next test."""
        self.is_over.set()
        for session in list(self.registry._sessions.values()):
            self.registry.remove(session)

    def take(self, ask_id: str) -> Verdict:
        return presence.taken(self.client.execute_command(*presence.take_command(ask_id, "a"))).verdict


def code(session: Session) -> int | None:
    return cast("Line", cast("Any", session.websocket)).code


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(presence, "KEEP_SECONDS", 0.05)


@pytest.fixture
def process(empty_redis: Redis) -> Iterator[Process]:
    made = Process(empty_redis)
    yield made
    made.close()


def test_an_agent_is_there_from_its_arrival_to_its_end(process: Process) -> None:
    session = process.agent()
    assert process.registry.find(session.connection) is session
    assert process.seated() == [session.connection]
    process.registry.remove(session)
    assert process.seated() == []
    assert process.registry.find(session.connection) is None
    time.sleep(0.2)  # nobody speaks of it any more
    assert process.seated() == []


def test_the_older_of_two_connections_is_closed(process: Process) -> None:
    older, newer = process.agent(), process.agent()
    assert (code(older), code(newer)) == (1000, None)
    process.registry.remove(older)
    assert process.seated() == [newer.connection]


def test_a_connection_whose_id_was_taken_elsewhere_is_closed_even_if_nobody_tells(process: Process) -> None:
    session = process.agent()
    process.client.set(keyspace.agent_key("a"), "api_2 another 0")
    wait_until(lambda: code(session) == 1000, "the connection to be closed")
    process.registry.remove(session)
    assert process.client.get(keyspace.agent_key("a")) == b"api_2 another 0"


def test_an_emptied_redis_is_told_again(process: Process) -> None:
    session = process.agent()
    assert session.take("ask_1")
    session.accepted_id = "ask_1"
    process.client.flushall()
    wait_until(lambda: process.seated() == [session.connection], "the agent to be back")
    assert process.take("ask_2") is Verdict.BUSY


def test_an_ask_that_was_withdrawn_before_it_was_accepted_takes_the_agent_no_more(process: Process) -> None:
    session = process.agent()
    assert process.take("ask_1") is Verdict.TAKEN
    assert session.take("ask_1")
    assert process.client.execute_command(*presence.withdraw_command("a", "ask_1"))
    time.sleep(0.2)  # looks at what it is at fall in between
    assert process.take("ask_2") is Verdict.TAKEN


def test_an_agent_that_came_while_redis_was_away(empty_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(empty_redis)
    away = redis_clients.blocking("redis://127.0.0.1:1/0")
    there, process.registry._redis = process.registry._redis, away
    session = process.agent()
    assert not session.is_seated
    process.registry._redis = there
    wait_until(lambda: process.seated() == [session.connection], "the agent to be told")
    process.close()


def test_an_agent_that_failed_a_ping_is_left_out_until_it_says_something(process: Process) -> None:
    session = process.agent()
    process.registry.leave_out(session)
    assert process.seated() == []
    time.sleep(0.2)
    assert process.seated() == []
    process.registry.bring_back(session)
    wait_until(lambda: process.seated() == [session.connection], "the agent to be back")


def test_a_look_that_was_about_to_seat_it_does_not_bring_it_back(process: Process) -> None:
    # Given a look that found an agent not seated yet, and did not come to seat it before it was left out
    session = process.agent()
    process.registry.leave_out(session)
    process.registry._seat(session)
    assert process.seated() == []


def test_or_for_a_while(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    session = process.agent()
    process.registry.leave_out(session)
    monkeypatch.setattr(registries, "PARDON_SECONDS", 0.1)
    wait_until(lambda: process.seated() == [session.connection], "the agent to be back")


def test_who_was_left_out_does_not_displace_who_came_since(process: Process) -> None:
    older = process.agent()
    process.registry.leave_out(older)
    newer = process.agent()
    process.registry.bring_back(older)
    wait_until(lambda: code(older) == 1000, "the older to be closed")
    assert code(newer) is None
    assert process.seated() == [newer.connection]


def test_an_outcome_lets_the_agent_go_for_good(process: Process) -> None:
    session = process.agent()
    for number in range(20):
        ask = Ask(f"ask_{number}", "w", session.connection, opens=True, request={})
        assert process.take(ask.id) is Verdict.TAKEN
        assert session.take(ask.id)
        process.registry.settle(session, ask, Outcome())
        time.sleep(0.01)  # looks at what it is at fall in between
    assert process.take("ask") is Verdict.TAKEN


def test_a_handshake_without_a_time_out(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "ARRIVE_SECONDS", 0.1)
    session = process.session()
    with process.registry.arrival(session.websocket):
        wait_until(lambda: code(session) == 1008, "the connection to be closed")


def test_a_newcomer_that_says_a_byte_now_and_then(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "ARRIVE_SECONDS", 0.5)
    ours, theirs = socket.socketpair()
    greeting = Connection(ConnectionType.CLIENT).send(TextMessage('{"id": "a"}' * 10))
    with ours, theirs, ThreadPoolExecutor(1) as threads:
        websocket = WebSocket(ours, silence_seconds=60)
        began = time.monotonic()
        with process.registry.arrival(websocket):
            reading = threads.submit(websocket.receive)
            with contextlib.suppress(BrokenPipeError):  # closed between two bytes, before the reader has noticed
                for byte in greeting:
                    theirs.send(bytes([byte]))
                    if futures.wait([reading], 0.05).done:
                        break
            assert str(reading.exception(timeout=5)).startswith("websocket: close 1008")
    assert time.monotonic() - began < 5


def test_everybody_is_sent_away_when_the_process_stops(process: Process) -> None:
    there, arriving = process.agent(), process.session("b")
    with process.registry.arrival(arriving.websocket):
        process.is_over.set()
        wait_until(lambda: code(there) == 1001, "the agent to be sent away")
        wait_until(lambda: code(arriving) == 1008, "the newcomer to be sent away")
