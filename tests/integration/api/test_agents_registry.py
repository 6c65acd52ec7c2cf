"""What one API process writes to Redis of its agents, and which connections it closes."""

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

from api.agents import registry as registry_module
from api.agents.registry import Registry
from api.agents.session import Session
from api.agents.websocket import WebSocket
from dev.testing.stack import Redis, wait_until
from shared.agents import claims, presence
from shared.agents.claims import ClaimVerdict
from shared.agents.requests import AgentRequest, AgentResult
from shared.redis import keyspace, redis_clients

REQUEST_MS = 60_000


class ClosableSocket:
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
        self.registry = Registry(redis_clients.blocking(url or redis.url), "api_1", REQUEST_MS, self.is_over.is_set)
        self.registry.start()

    def session(self, agent_id: str = "a") -> Session:
        return Session(cast("WebSocket", ClosableSocket()), agent_id, None)

    def agent(self, agent_id: str = "a") -> Session:
        session = self.session(agent_id)
        self.registry.add(session)
        return session

    def registered(self) -> list[str]:
        return [agent.location.connection for agent in presence.connected_agents(self.client)]

    def close(self) -> None:
        """Remove all: the registry's thread lives on, and would register them in the next test."""
        self.is_over.set()
        for session in list(self.registry._sessions.values()):
            self.registry.remove(session)

    def claim(self, request_id: str) -> ClaimVerdict:
        return claims.read_claim(self.client.execute_command(*claims.claim_command(request_id, "a"))).verdict


def code(session: Session) -> int | None:
    return cast("ClosableSocket", cast("Any", session.websocket)).code


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(presence, "REFRESH_SECONDS", 0.05)


@pytest.fixture
def process(empty_redis: Redis) -> Iterator[Process]:
    made = Process(empty_redis)
    yield made
    made.close()


def test_an_agent_is_registered_from_its_arrival_to_its_end(process: Process) -> None:
    session = process.agent()
    assert process.registry.find(session.connection) is session
    assert process.registered() == [session.connection]
    process.registry.remove(session)
    assert process.registered() == []
    assert process.registry.find(session.connection) is None
    time.sleep(0.2)  # nobody refreshes it any more
    assert process.registered() == []


def test_the_older_of_two_connections_is_closed(process: Process) -> None:
    older, newer = process.agent(), process.agent()
    assert (code(older), code(newer)) == (1000, None)
    process.registry.remove(older)
    assert process.registered() == [newer.connection]


def test_a_connection_whose_id_was_taken_elsewhere_is_closed_without_a_message_too(process: Process) -> None:
    session = process.agent()
    process.client.set(keyspace.agent_key("a"), "api_2 another 0")
    wait_until(lambda: code(session) == 1000, "the connection to be closed")
    process.registry.remove(session)
    assert process.client.get(keyspace.agent_key("a")) == b"api_2 another 0"


def test_agents_are_registered_again_in_an_emptied_redis(process: Process) -> None:
    session = process.agent()
    assert session.begin("request_1")
    session.has_accepted = True
    process.client.flushall()
    wait_until(lambda: process.registered() == [session.connection], "the agent to be back")
    assert process.claim("request_2") is ClaimVerdict.BUSY


def test_a_request_that_was_withdrawn_before_it_was_accepted_blocks_the_agent_no_more(process: Process) -> None:
    session = process.agent()
    assert process.claim("request_1") is ClaimVerdict.CLAIMED
    assert session.begin("request_1")
    assert process.client.execute_command(*claims.withdraw_command("a", "request_1"))
    time.sleep(0.2)  # refreshes fall in between
    assert process.claim("request_2") is ClaimVerdict.CLAIMED


def test_an_agent_that_came_while_redis_was_away(empty_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(empty_redis)
    away = redis_clients.blocking("redis://127.0.0.1:1/0")
    there, process.registry._redis = process.registry._redis, away
    session = process.agent()
    assert not session.is_registered
    process.registry._redis = there
    wait_until(lambda: process.registered() == [session.connection], "the agent to be registered")
    process.close()


def test_an_agent_that_failed_a_ping_is_quarantined_until_it_sends_something(process: Process) -> None:
    session = process.agent()
    process.registry.quarantine(session)
    assert process.registered() == []
    time.sleep(0.2)
    assert process.registered() == []
    process.registry.end_quarantine(session)
    wait_until(lambda: process.registered() == [session.connection], "the agent to be back")


def test_a_refresh_that_was_about_to_register_it_does_not_end_its_quarantine(process: Process) -> None:
    # Given a refresh that found an agent not registered yet, and did not come to register it before it was quarantined
    session = process.agent()
    process.registry.quarantine(session)
    process.registry._register(session)
    assert process.registered() == []


def test_a_refresh_that_was_about_to_register_it_displaces_nobody_after_its_quarantine(process: Process) -> None:
    # Given the same refresh, delayed until after the quarantine, while another agent came under the same id
    older = process.agent()
    process.registry.quarantine(older)
    newer = process.agent()
    process.registry.end_quarantine(older)
    process.registry._register(older)
    wait_until(lambda: code(older) == 1000, "the older to be closed")
    assert code(newer) is None
    assert process.registered() == [newer.connection]


def test_a_quarantine_ends_after_a_while(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    session = process.agent()
    process.registry.quarantine(session)
    monkeypatch.setattr(registry_module, "QUARANTINE_SECONDS", 0.1)
    wait_until(lambda: process.registered() == [session.connection], "the agent to be back")


def test_a_quarantined_agent_does_not_displace_one_that_came_since(process: Process) -> None:
    older = process.agent()
    process.registry.quarantine(older)
    newer = process.agent()
    process.registry.end_quarantine(older)
    wait_until(lambda: code(older) == 1000, "the older to be closed")
    assert code(newer) is None
    assert process.registered() == [newer.connection]


def test_a_result_releases_the_agent_for_good(process: Process) -> None:
    session = process.agent()
    for number in range(20):
        request = AgentRequest(f"request_{number}", "w", session.connection, opens=True, request={})
        assert process.claim(request.id) is ClaimVerdict.CLAIMED
        assert session.begin(request.id)
        process.registry.finish(session, request, AgentResult())
        time.sleep(0.01)  # refreshes fall in between
    assert process.claim("request") is ClaimVerdict.CLAIMED


def test_a_handshake_without_a_time_out(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "ARRIVAL_SECONDS", 0.1)
    session = process.session()
    with process.registry.arrival(session.websocket):
        wait_until(lambda: code(session) == 1008, "the connection to be closed")


def test_a_newcomer_that_sends_a_byte_now_and_then(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "ARRIVAL_SECONDS", 0.5)
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
