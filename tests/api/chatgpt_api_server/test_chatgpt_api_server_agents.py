"""The agents' protocol, by the conformance checklist of ChatGPT-API-server, and what is done better than there."""

import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dev.testing.agent import Agent
from dev.testing.stack import BIN, free_port, is_up, wait_until
from tests.api.agent_client import ADMIN_KEY, ANSWER_SECONDS, PING_SECONDS, SLACK_SECONDS, AgentClient


def _refused(agent_client: AgentClient, content: str = "Hello", **ids: str) -> tuple[int, Any]:
    response = agent_client.ask(content, **ids)
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    return response.status_code, response.json()


# What an agent is greeted with: (a)


def test_conformance_a_an_agent_is_sent_one_frame_with_a_connection_id(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    assert len(agent.frames) == 1
    assert agent.frames[0].endswith("\n")
    assert list(agent.received[0]) == ["id", "message", "data"]
    assert agent.received[0] == {"id": str(uuid.UUID(agent.received[0]["id"])), "message": "Connection id", "data": ""}


# Which id an agent has: (b)


def test_conformance_b_an_agent_that_takes_the_offered_id_has_it(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    assert agent_client.agent_ids() == [agent.received[0]["id"]]


def test_conformance_b_an_agent_that_comes_again_replaces_its_older_connection(agent_client: AgentClient) -> None:
    older = agent_client.agent()
    newer = agent_client.agent(agent_id=older.id)
    wait_until(lambda: older.is_over, "the older connection to be closed")
    assert not newer.is_over
    assert agent_client.agent_ids() == [older.id]
    assert agent_client.answer()["content"]
    assert [len(each.requests) for each in (older, newer)] == [0, 1]


@pytest.mark.parametrize("agent_id", ["yesterday's id", "", "ü 💬", "a" * 255])
def test_conformance_b_an_unknown_id_is_adopted(agent_client: AgentClient, agent_id: str) -> None:
    agent_client.agent(agent_id=agent_id)
    assert agent_client.agent_ids() == [agent_id]
    assert agent_client.answer()["content"]


@pytest.mark.parametrize("agent_id", ["a" * 256, "line\nbreak", "nul\0"])
def test_conformance_b_an_id_that_cannot_be_is_turned_away(agent_client: AgentClient, agent_id: str) -> None:
    agent = Agent(agent_client.url, token=ADMIN_KEY, agent_id=agent_id)
    wait_until(lambda: agent.is_over, "the agent to be turned away")
    assert agent_client.agent_ids() == []


# What a question looks like: (c), (d)


def test_conformance_c_a_question_comes_behind_a_ping(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    agent_client.answer("What is it?")
    ping, question = agent.received[1:]
    assert ping["message"] == "ping"
    assert ping["data"] == ""
    assert question["message"] == "ChatGptRequest"
    assert len({ping["id"], question["id"], agent.id}) == 3
    assert isinstance(question["data"], str)


def test_conformance_d_a_new_conversation_has_an_empty_id_and_fresh_others(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    agent_client.answer("One")
    agent_client.answer("Two")
    for request, content in zip(agent.requests, ["One", "Two"], strict=True):
        assert list(request) == ["message_id", "conversation_id", "parent_id", "content"]
        assert request["conversation_id"] == ""
        assert request["content"] == content
        assert uuid.UUID(request["message_id"]) != uuid.UUID(request["parent_id"])
    assert agent.requests[0]["message_id"] != agent.requests[1]["message_id"]


def test_conformance_d_ids_of_the_callers_choice_are_passed_on(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    agent_client.answer(message_id="m", parent_id="p")
    assert agent.requests[0] == {"message_id": "m", "conversation_id": "", "parent_id": "p", "content": "Hello"}
    conversation = agent_client.answer()["conversation_id"]
    agent_client.answer(message_id="m2", parent_id="p2", conversation_id=conversation)
    assert agent.requests[2] == {"message_id": "m2", "conversation_id": conversation, "parent_id": "p2", "content": "Hello"}


def test_conformance_d_a_large_question_and_answer_arrive_whole(agent_client: AgentClient) -> None:
    agent_client.agent()
    text = "".join(str(number) for number in range(150_000))
    assert agent_client.answer(text)["content"].endswith(f" received {text}")


# What an answer looks like: (e)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("empty", {"id": "", "response_id": "", "conversation_id": "", "content": "", "error": ""}),
        ("own error", {"id": "x", "response_id": "", "conversation_id": "", "content": "", "error": "boom"}),
    ],
)
def test_conformance_e_missing_fields_of_the_payload_are_empty(
    agent_client: AgentClient, content: str, expected: dict[str, str]
) -> None:
    agent_client.agent()
    assert agent_client.answer(content) == expected


def test_conformance_e_a_binary_answer_is_as_good(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    assert agent_client.answer("binary")["content"] == f"{agent.id} received binary"


# Which agent a conversation stays with: (f)


def test_conformance_f_a_conversation_stays_with_its_agent(agent_client: AgentClient) -> None:
    agents = [agent_client.agent() for _ in range(2)]
    first = agent_client.answer()
    others = [agent_client.answer("More", conversation_id=first["conversation_id"]) for _ in range(3)]
    answering = next(agent for agent in agents if agent.requests)
    assert len(answering.requests) == 4
    assert {request["conversation_id"] for request in answering.requests[1:]} == {first["conversation_id"]}

    # And each question follows the answer before, without the caller's help
    parents = [request["parent_id"] for request in answering.requests[1:]]
    assert parents == [first["response_id"], *(answer["response_id"] for answer in others[:-1])]
    assert answering.requests[1]["content"] == "More"


def test_conformance_f_a_conversation_goes_on_when_its_agent_comes_again(agent_client: AgentClient) -> None:
    agents = [agent_client.agent() for _ in range(2)]
    first = agent_client.answer()
    answering = next(agent for agent in agents if agent.requests)
    answering.close()
    wait_until(lambda: len(agent_client.agent_ids()) == 1, "the agent to be gone")
    assert _refused(agent_client, conversation_id=first["conversation_id"]) == (500, {"error": "Connection no longer exists"})

    again = agent_client.agent(agent_id=answering.id)
    assert agent_client.answer("More", conversation_id=first["conversation_id"])["conversation_id"] == first["conversation_id"]
    # The refused question left no trace: it goes on behind the last answer
    assert [(request["parent_id"], request["content"]) for request in again.requests] == [(first["response_id"], "More")]


# Whose turn it is: (g)


def test_conformance_g_new_conversations_go_to_whom_was_used_longest_ago(agent_client: AgentClient) -> None:
    agents = [agent_client.agent() for _ in range(2)]
    answering = [agent_client.answer()["content"].split()[0] for _ in range(4)]
    assert set(answering[:2]) == {agent.id for agent in agents}
    assert answering[2:] == answering[:2]
    late = agent_client.agent()
    assert agent_client.answer()["content"].split()[0] == late.id


# What goes wrong: (h)


def test_conformance_h_without_agents_nobody_is_available(agent_client: AgentClient) -> None:
    began = time.monotonic()
    assert _refused(agent_client) == (503, {"error": "No available clients"})
    assert time.monotonic() - began < SLACK_SECONDS


def test_conformance_h_an_unknown_conversation_is_refused(agent_client: AgentClient) -> None:
    agent_client.agent()
    assert _refused(agent_client, conversation_id="unknown") == (500, {"error": "Conversation doesn't exists"})


@pytest.mark.parametrize("pong", ["silent", "wrong id", "close"])
def test_conformance_h_a_dead_agent_is_not_asked(agent_client: AgentClient, pong: str) -> None:
    agent = agent_client.agent(pong=pong)
    began = time.monotonic()
    assert _refused(agent_client) == (503, {"error": "No available clients"})
    assert time.monotonic() - began < PING_SECONDS + SLACK_SECONDS
    assert agent.requests == []


def test_conformance_h_a_dead_agent_is_passed_over(agent_client: AgentClient) -> None:
    dead = agent_client.agent(pong="silent")
    good = agent_client.agent()
    assert {agent_client.answer()["content"].split()[0] for _ in range(2)} == {good.id}
    assert len([frame for frame in dead.received if frame["message"] == "ping"]) <= 1


def test_conformance_h_three_dead_agents_in_a_row_are_enough(agent_client: AgentClient) -> None:
    good = agent_client.agent()
    agent_client.answer()  # so that its turn is last
    dead = [agent_client.agent(pong="silent") for _ in range(3)]
    assert agent_client.agent_ids()[-1] == good.id
    assert _refused(agent_client) == (503, {"error": "Ping failed"})
    assert [[frame["message"] for frame in agent.received] for agent in dead] == [["Connection id", "ping"]] * 3
    assert agent_client.answer()["content"] == f"{good.id} received Hello"


def test_conformance_h_the_agent_of_a_conversation_that_does_not_answer_its_ping(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    conversation = agent_client.answer()["conversation_id"]
    agent.pong = "silent"
    for _ in range(2):
        assert _refused(agent_client, conversation_id=conversation) == (503, {"error": "Ping failed"})
    agent.pong = "pong"
    assert agent_client.answer(conversation_id=conversation)["conversation_id"] == conversation


@pytest.mark.parametrize(
    ("content", "err"),
    [
        ("close", "websocket: close 1000 (normal)"),
        ("silent", "i/o timeout: nothing came in 3 s"),
        ("no json", "Expecting value: line 1 column 1 (char 0)"),
        ("number", "json: cannot unmarshal object into field data of type string"),
    ],
)
def test_conformance_h_an_answer_that_cannot_be_read(agent_client: AgentClient, content: str, err: str) -> None:
    agent_client.agent()
    began = time.monotonic()
    assert _refused(agent_client, content) == (500, {"err": err, "error": "Failed to read response from the client"})
    assert time.monotonic() - began < ANSWER_SECONDS + SLACK_SECONDS


def test_conformance_h_a_wrong_id(agent_client: AgentClient) -> None:
    agent_client.agent()
    assert _refused(agent_client, "wrong id") == (500, {"error": "Failed to find response from the client"})


@pytest.mark.parametrize(
    ("content", "message", "data"), [("bad data", "ChatGptResponse", "this is no JSON"), ("error", "error", "Unknown error")]
)
def test_conformance_h_an_answer_that_is_none(agent_client: AgentClient, content: str, message: str, data: str) -> None:
    agent = agent_client.agent()
    status, body = _refused(agent_client, content)
    response = {"id": agent.received[-1]["id"], "message": message, "data": data}
    assert (status, body) == (500, {"error": "Failed to convert response to ChatGptResponse", "response": response})
    assert list(body["response"]) == ["id", "message", "data"]


# Better than the original


def test_an_agent_that_stays_busy_is_not_waited_for_for_ever(agent_client: AgentClient) -> None:
    agent_client.agent()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(agent_client.ask, ["slow 1.5"] * 6))
    assert {answer.status_code for answer in answers} == {200, 503}
    assert {answer.text for answer in answers if answer.status_code == 503} == {'{"error":"No available clients"}'}


def test_a_late_answer_is_nobodys(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    assert agent_client.ask("slow 3.3").status_code == 500
    # The next question is under way when the answer to the one before comes
    assert agent_client.answer("slow 0.5 now")["content"] == f"{agent.id} received slow 0.5 now"


def test_a_late_pong_brings_an_agent_back(agent_client: AgentClient) -> None:
    agent = agent_client.agent(pong="late 2.5")
    assert _refused(agent_client) == (503, {"error": "No available clients"})
    agent.pong = "pong"
    wait_until(lambda: agent_client.agent_ids() == [agent.id], "the agent to be back")
    assert agent_client.answer()["content"]


def test_another_agent_takes_over_when_one_dies_in_the_middle(agent_client: AgentClient) -> None:
    agents = [agent_client.agent() for _ in range(2)]
    with ThreadPoolExecutor(1) as threads:
        answering = threads.submit(agent_client.answer, "slow 0.7")
        wait_until(lambda: any(agent.requests for agent in agents), "the question to arrive")
        dying = next(agent for agent in agents if agent.requests)
        dying.vanish()
        survivor = next(agent for agent in agents if agent is not dying)
        assert answering.result()["content"] == f"{survivor.id} received slow 0.7"


def test_agents_on_threads_instead_of_greenlets(agent_client: AgentClient) -> None:
    # Given an API process on gunicorn's threads
    stack, port = agent_client.deployment.stack, free_port()
    command = [str(BIN / "gunicorn"), "-c", "gunicorn.conf.py", "-k", "gthread", "--threads", "8", "api.app:create_app()"]
    process = stack.start("web-gthread", command, PORT=str(port))
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: is_up(f"{url}/healthz"), "the API on threads")

    # Then its agents answer, pings and questions, and those that are gone are gone at once
    agents = [agent_client.agent(url=url, heartbeat_seconds=10) for _ in range(2)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(agent_client.answer, ["slow 0.3 a", "slow 0.3 b", "slow 0.3 c", "slow 0.3 d"]))
    assert [answer["content"][-1] for answer in answers] == list("abcd")
    agents[0].vanish()
    wait_until(lambda: agent_client.agent_ids() == [agents[1].id], "the agent to be gone")
    again = agent_client.agent(url=url, agent_id=agents[1].id)
    wait_until(lambda: agents[1].is_over, "the older connection to be closed")

    # And when it stops it sends them away
    process.signal(signal.SIGTERM)
    wait_until(lambda: again.is_over, "the connection to be closed")
    assert again.close_code == 1001
    wait_until(lambda: not process.is_running(), "the process to end", 10)
