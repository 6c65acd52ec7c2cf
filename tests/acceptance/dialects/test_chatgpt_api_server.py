"""Agents and those who ask them, by ChatGPT-API-server's wire alone, across processes that are stopped, killed and frozen."""

import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from dev.servers.postgres_server import PostgresServer
from dev.testing.agent import Agent
from dev.testing.stack import SHORT_LEASES, Redis, Stack, running, wait_until

KEY = "the-key-of-the-operator-0123456789abcdef"
PING_SECONDS = 2.0
ANSWER_SECONDS = 4.0
PRESENCE_SECONDS = 5.0
SLACK_SECONDS = 5.0
SETTINGS = {
    "AGENT_PING_SECONDS": f"{PING_SECONDS}",
    "AGENT_ANSWER_SECONDS": f"{ANSWER_SECONDS}",
    "AGENT_WAIT_SECONDS": "5",
    "ADMIN_KEY": KEY,
}


AGENT_PROGRAM = """
import sys
import time
from dev.testing.agent import Agent

url, token, name = sys.argv[1:]
agent = Agent(url, token=token, agent_id=name)
while not agent.is_over:
    time.sleep(0.02)
    if any(request["content"].startswith("slow") for request in agent.requests):
        print("asked", flush=True)
"""


@dataclass(frozen=True)
class AgentDeployment:
    """The processes, and the Redis that they are on."""

    stack: Stack
    redis: Redis


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[AgentDeployment]:
    """Two API processes and two workers on one Redis and one PostgreSQL of their own."""
    folder = tmp_path_factory.mktemp("deployment")
    redis = Redis(folder)
    stack = Stack(folder, redis.url, postgres_server.create_database(), **SHORT_LEASES, **SETTINGS)
    try:
        with running(stack, webs=2, workers=2):
            yield AgentDeployment(stack, redis)
    finally:
        redis.close()


class AgentClient:
    """One user, who can ask at each API process, and agents that leave when the test is over."""

    def __init__(self, stack: Stack, ends: ExitStack) -> None:
        self.stack = stack
        self.ends = ends
        self._http = ends.enter_context(httpx2.Client(headers={"Authorization": KEY}, timeout=60, verify=False))

    def agent(self, web: int = 0, agent_id: str | None = None) -> Agent:
        agent = self.ends.enter_context(Agent(self.stack.urls[web], token=KEY, agent_id=agent_id))
        wait_until(lambda: agent.id in self.agent_ids(), "the agent to be there")
        return agent

    def ask(self, content: str, web: int = 0, **ids: str) -> httpx2.Response:
        return self._http.post(f"{self.stack.urls[web]}/api/ask", json={"content": content, **ids})

    def answer(self, content: str, web: int = 0, **ids: str) -> dict[str, Any]:
        response = self.ask(content, web, **ids)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def agent_ids(self, web: int = 1) -> list[str]:
        return [each["Id"] for each in self._http.get(f"{self.stack.urls[web]}/api/connections").json()["connections"] or []]


@pytest.fixture
def agent_client(deployment: AgentDeployment) -> Iterator[AgentClient]:
    """A client at both API processes, and no agents yet."""
    for web, process in enumerate(deployment.stack.webs):
        if not process.is_running():
            deployment.stack.restart_web(web)
    with ExitStack() as ends:
        client = AgentClient(deployment.stack, ends)
        wait_until(lambda: client.agent_ids() == [], "the agents of the test before to be gone")
        yield client


def _wait_for_asked(agents: list[Agent]) -> Agent:
    wait_until(lambda: any(agent.requests for agent in agents), "the question to arrive")
    return next(agent for agent in agents if agent.requests)


def test_the_agent_on_one_process_and_the_question_on_the_other(agent_client: AgentClient) -> None:
    agent = agent_client.agent(web=0)
    assert agent_client.agent_ids(web=0) == agent_client.agent_ids(web=1) == [agent.id]
    first = agent_client.answer("One", web=1)
    second = agent_client.answer("Two", web=1, conversation_id=first["conversation_id"], parent_id=first["response_id"])
    assert second["conversation_id"] == first["conversation_id"]
    assert [request["content"] for request in agent.requests] == ["One", "Two"]
    assert agent.requests[1]["parent_id"] == first["response_id"]


def test_eight_questions_at_once_on_two_agents(agent_client: AgentClient) -> None:
    agents = [agent_client.agent(web) for web in (0, 1)]
    with ThreadPoolExecutor(8) as threads:
        answering = [threads.submit(agent_client.answer, f"slow 0.2 {number}", number % 2) for number in range(8)]
        contents = [each.result()["content"].split(" received ")[1] for each in answering]
    assert contents == [f"slow 0.2 {number}" for number in range(8)]
    assert min(len(agent.requests) for agent in agents) >= 2


def test_killing_an_agent_in_the_middle_of_an_answer(agent_client: AgentClient) -> None:
    # Where there is another, that one answers
    agents = [agent_client.agent(web) for web in (0, 1)]
    with ThreadPoolExecutor(1) as threads:
        answering = threads.submit(agent_client.answer, "slow 1")
        dying = _wait_for_asked(agents)
        dying.vanish()
        (survivor,) = (agent for agent in agents if agent is not dying)
        assert answering.result()["content"] == f"{survivor.id} received slow 1"

        # Where there is none, and in a conversation that began with it, the error comes at once
        conversation = agent_client.answer("Hello")["conversation_id"]
        survivor.requests.clear()
        refused = threads.submit(agent_client.ask, "slow 1", conversation_id=conversation)
        _wait_for_asked([survivor]).vanish()
        response = refused.result()
    assert response.status_code == 500
    assert response.json()["error"] == "Failed to read response from the client"
    assert response.json()["err"].startswith("websocket: close 1006")
    assert agent_client.ask("Hello", conversation_id=conversation).json() == {"error": "Connection no longer exists"}


class AgentProcess:
    """An agent in a process of its own."""

    def __init__(self, stack: Stack, web: int, name: str) -> None:
        self.id = name
        command = [sys.executable, "-c", AGENT_PROGRAM, stack.urls[web], KEY, name]
        self.process = stack.start(f"agent-{name}", command)

    def is_asked(self) -> bool:
        return "asked" in self.process.log()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_agents_process_is_killed_or_freezes_in_the_middle_of_an_answer(
    agent_client: AgentClient, number: signal.Signals
) -> None:
    # Given a conversation with the only agent there is
    agent = AgentProcess(agent_client.stack, 0, f"{number.name} 1")
    wait_until(lambda: agent_client.agent_ids() == [agent.id], "the agent to be there")
    conversation = agent_client.answer("Hello", web=1)["conversation_id"]
    with ThreadPoolExecutor(1) as threads:
        # When its process ends while it is asked
        answering = threads.submit(agent_client.ask, "slow 1.5", 1, conversation_id=conversation)
        wait_until(agent.is_asked, "the question to arrive")
        began = time.monotonic()
        agent.process.signal(number)
        # Then the error comes: at once, or when its time is up
        response = answering.result()
    assert time.monotonic() - began < ANSWER_SECONDS + SLACK_SECONDS
    assert (response.status_code, response.json()["error"]) == (500, "Failed to read response from the client")
    err = "websocket: close 1006" if number is signal.SIGKILL else "i/o timeout: nothing came in 4 s"
    assert response.json()["err"].startswith(err)

    # And one that is dead or frozen keeps no question from another
    good = agent_client.agent(web=1)
    began = time.monotonic()
    assert [agent_client.answer("Hello", web)["content"] for web in (0, 1)] == [f"{good.id} received Hello"] * 2
    assert time.monotonic() - began < 2 * PING_SECONDS + SLACK_SECONDS
    agent.process.kill()
    wait_until(lambda: agent_client.agent_ids() == [good.id], "the agent to be gone", SLACK_SECONDS)


def test_the_conversations_are_lost_with_a_server_restart(agent_client: AgentClient, deployment: AgentDeployment) -> None:
    # There every known conversation was `Conversation doesn't exists` from then on
    agent = agent_client.agent(web=0)
    first = agent_client.answer("One")
    processes = [*deployment.stack.webs, *deployment.stack.workers]
    for process in processes:
        process.signal(signal.SIGTERM)
    wait_until(lambda: not any(process.is_running() for process in processes), "all to stop")
    for web in (0, 1):
        deployment.stack.restart_web(web)
    deployment.stack.workers.clear()
    for _ in range(2):
        deployment.stack.start_worker()
    wait_until(lambda: agent.is_over, "the agent to be sent away")
    again = agent_client.agent(web=1, agent_id=agent.id)
    assert agent_client.answer("Two", conversation_id=first["conversation_id"])["content"] == f"{again.id} received Two"
    assert [request["parent_id"] for request in again.requests] == [first["response_id"]]


def test_an_agent_comes_again_at_another_process(agent_client: AgentClient) -> None:
    older = agent_client.agent(web=0)
    conversation = agent_client.answer("One")["conversation_id"]
    newer = agent_client.agent(web=1, agent_id=older.id)
    wait_until(lambda: older.is_over, "the older connection to be closed", SLACK_SECONDS)
    assert older.close_code == 1000
    assert not newer.is_over
    assert agent_client.agent_ids() == [older.id]
    assert agent_client.answer("Two", conversation_id=conversation)["conversation_id"] == conversation
    assert [request["content"] for request in newer.requests] == ["Two"]


def test_an_emptied_redis(agent_client: AgentClient, deployment: AgentDeployment) -> None:
    agents = [agent_client.agent(web) for web in (0, 1)]
    conversation = agent_client.answer("One")["conversation_id"]
    with ThreadPoolExecutor(1) as threads:
        answering = threads.submit(agent_client.answer, "slow 1.5", conversation_id=conversation)
        wait_until(lambda: sum(len(agent.requests) for agent in agents) == 2, "the question to arrive")
        deployment.redis.client.flushall()
        wait_until(lambda: len(agent_client.agent_ids()) == 2, "the agents to be back", PRESENCE_SECONDS)
        assert answering.result()["conversation_id"] == conversation
    assert agent_client.answer("Two", conversation_id=conversation)["conversation_id"] == conversation


def test_a_redis_that_is_started_anew(agent_client: AgentClient, deployment: AgentDeployment) -> None:
    agent = agent_client.agent()
    conversation = agent_client.answer("One")["conversation_id"]
    deployment.redis.process.kill()
    deployment.redis.start()
    wait_until(lambda: agent_client.agent_ids() == [agent.id], "the agent to be back", SLACK_SECONDS)
    wait_until(lambda: agent_client.ask("Two", conversation_id=conversation).status_code == 200, "an answer")


def test_a_process_that_is_stopped_sends_its_agents_to_another(agent_client: AgentClient, deployment: AgentDeployment) -> None:
    agent = agent_client.agent(web=0)
    conversation = agent_client.answer("One")["conversation_id"]
    deployment.stack.webs[0].signal(signal.SIGTERM)
    wait_until(lambda: agent.is_over, "the connection to be closed", SLACK_SECONDS)
    assert agent.close_code == 1001
    wait_until(lambda: agent_client.agent_ids() == [], "the agent to be gone", PRESENCE_SECONDS - 1)
    again = agent_client.agent(web=1, agent_id=agent.id)
    assert agent_client.answer("Two", web=1, conversation_id=conversation)["conversation_id"] == conversation
    assert [request["content"] for request in again.requests] == ["Two"]
    wait_until(lambda: not deployment.stack.webs[0].is_running(), "the process to end")


def test_a_process_that_is_killed_in_the_middle_of_an_answer(agent_client: AgentClient, deployment: AgentDeployment) -> None:
    # Given an agent at each process, a conversation with each, and the one whose turn is next
    agents = [agent_client.agent(web) for web in (0, 1)]
    answers = [agent_client.answer("One") for _ in agents]
    conversations = {answer["content"].split()[0]: answer["conversation_id"] for answer in answers}
    web = next(web for web in (0, 1) if agents[web].id == agent_client.agent_ids()[0])
    other = 1 - web
    agents[web].requests.clear()
    with ThreadPoolExecutor(2) as threads:
        # When its process is killed while it is at a new conversation, and asked in its old one
        new = threads.submit(agent_client.answer, "slow 1.8", other)
        _wait_for_asked([agents[web]])
        known = threads.submit(agent_client.ask, "Two", other, conversation_id=conversations[str(agents[web].id)])
        deployment.stack.webs[web].kill()
        began = time.monotonic()
        # Then the new one is begun elsewhere, and the old one cannot go on (which error it is, depends on which time is up first)
        assert new.result()["content"] == f"{agents[other].id} received slow 1.8"
        assert known.result().json()["error"] in {"Connection no longer exists", "Ping failed"}
    assert time.monotonic() - began < PRESENCE_SECONDS + ANSWER_SECONDS + SLACK_SECONDS
    assert agent_client.agent_ids(other) == [agents[other].id]


def test_a_process_that_is_frozen_is_passed_over(agent_client: AgentClient, deployment: AgentDeployment) -> None:
    agent_client.agent(web=0)
    good = agent_client.agent(web=1)
    deployment.stack.webs[0].signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            assert agent_client.answer("Hello", web=1)["content"] == f"{good.id} received Hello"
    finally:
        deployment.stack.webs[0].signal(signal.SIGCONT)
    wait_until(lambda: len(agent_client.agent_ids()) == 2, "the other to be back")


def test_a_worker_that_is_killed_in_the_middle_of_an_answer(agent_client: AgentClient, deployment: AgentDeployment) -> None:
    agent = agent_client.agent()
    with ThreadPoolExecutor(1) as threads:
        answering = threads.submit(agent_client.answer, "slow 1.5")
        _wait_for_asked([agent])
        for worker in deployment.stack.workers:  # one of them has it
            worker.kill()
        deployment.stack.start_worker()
        assert answering.result()["content"] == f"{agent.id} received slow 1.5"
    assert len(agent.requests) == 2
