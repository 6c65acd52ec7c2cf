"""What ChatGPT-API-server and its agents are known to do wrong, by their issues and their code: none of it happens here.

Each test is named after the defect, not after what happens instead; a number is that of the issue.
"""

import json
import re
import secrets
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from wsproto.events import Ping

from dev.paths import ROOT
from dev.testing.agent import Agent
from dev.testing.client import Client
from dev.testing.stack import BIN, SECRET_KEY, wait_until
from shared.models import ApiToken
from tests.api.agent_client import ADMIN_KEY, AgentClient, checked, post
from tests.raw_agent import RawAgent

ADMIN_LISTS = ["/admin/users", "/admin/agents"]
SOON_SECONDS = 10.0
"""Longer than every time-out of these sites together; shorter than what hangs."""

# Who may do what


def test_unauthenticated_agent_registration(agent_client: AgentClient) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"token": "wrong"},
        {"token": agent_client.user.headers["Authorization"]},  # a user's token lets nobody in as an agent
        {"path": "/client/register?token=wrong"},
        {"path": "/agents/wrong/client/register"},
        {"path": f"/client/register?token={ADMIN_KEY}"},  # not where it would be logged
    ]
    assert [Agent(agent_client.url, **way).refused for way in ways] == [401] * len(ways)
    assert agent_client.agent_ids() == []


def test_the_unauthenticated_list_of_connections_gives_nobody_an_id(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    agent = agent_client.agent()
    for headers in ({}, {"Authorization": "wrong"}):
        response = nobody.get("/api/connections", headers=headers)
        (listed,) = checked(response)["connections"]
        assert listed["Ws"] == {}
        assert str(agent.id) not in response.text
        assert re.fullmatch(r"[0-9a-f-]{7}…[0-9a-f-]{4}", listed["Id"])


def test_the_admin_key_disclosed_on_a_wrong_guess(nobody: httpx2.Client) -> None:
    for path in ADMIN_LISTS:
        for params in ({}, {"admin_key": "wrong"}):
            response = nobody.get(path, params=params)
            assert checked(response, 401) == {"error": "Invalid admin key"}
            assert ADMIN_KEY not in response.text


def test_admin_key_and_tokens_in_the_log(agent_client: AgentClient, nobody: httpx2.Client, agent_token: str) -> None:
    nobody.get("/admin/users", params={"admin_key": ADMIN_KEY})
    user_token = agent_client.user.headers["Authorization"]
    agent_client.agent(token=None, path=f"/agents/{agent_token}/client/register").close()
    agent_client.agent(token=None, path=f"/client/register?token={agent_token}").close()
    nobody.get(f"/agents/{agent_token}/client/other")
    nobody.get(f"//agents//{agent_token}/client/other")
    agent_client.ask()
    processes = [*agent_client.deployment.stack.webs, *agent_client.deployment.stack.workers]
    wait_until(lambda: "/agents/\\u2026/client/register" in processes[0].log(), "the request to be logged")
    lines = [line for process in processes for line in process.log().splitlines()]
    assert [line for line in lines if ADMIN_KEY in line or agent_token in line or user_token in line] == []


def test_questions_in_the_log(agent_client: AgentClient) -> None:
    agent_client.agent()
    secret = secrets.token_hex(16)
    for content in (secret, f"no json {secret}", f"bad data {secret}", f"wrong id {secret}"):
        agent_client.ask(content)
    processes = [*agent_client.deployment.stack.webs, *agent_client.deployment.stack.workers]
    assert not [process.name for process in processes if secret in process.log()]


def test_tokens_in_clear(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    token = agent_client.user.headers["Authorization"]
    response = nobody.get("/admin/users", params={"admin_key": ADMIN_KEY})
    assert token not in response.text
    assert f'"{token[:7]}…{token[-4:]}"' in response.text
    with agent_client.deployment.database.read() as session:
        for row in session.scalars(select(ApiToken)):
            assert token not in str(vars(row))


def test_conversations_of_other_users(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    agent_client.agent()
    conversation = agent_client.answer()["conversation_id"]
    other = post(nobody, "/admin/users/add", admin_key=ADMIN_KEY).json()["token"]
    responses = [
        nobody.post("/api/ask", json={"conversation_id": each}, headers={"Authorization": other})
        for each in (conversation, "unknown")
    ]
    for response in responses:
        assert checked(response, 500) == {"error": "Conversation doesn't exists"}
    assert responses[0].content == responses[1].content
    assert set(responses[0].headers) == set(responses[1].headers)


@pytest.mark.parametrize("path", ["/api/ask", "/api/connections", "/admin/users", "/admin/users/add", "/health"])
def test_preflights_are_not_answered(nobody: httpx2.Client, path: str) -> None:
    preflight = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    response = nobody.options(path, headers=preflight)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in response.headers["access-control-allow-headers"]
    assert {"GET", "POST"} <= {method.strip() for method in response.headers["access-control-allow-methods"].split(",")}


def test_lock_leak_after_an_empty_pool(agent_client: AgentClient) -> None:
    # The fatal one: there the pool stayed locked, and every later request hung for ever
    for _ in range(3):
        assert agent_client.ask().json() == {"error": "No available clients"}
    agent_client.agent()
    began = time.monotonic()
    assert agent_client.answer()["content"]
    assert len(agent_client.agent_ids()) == 1
    assert time.monotonic() - began < 5


def test_issues_17_and_38_a_request_hangs_for_ever(agent_client: AgentClient) -> None:
    began = time.monotonic()
    # With no agent connected
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: agent_client.ask(), range(8)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(503, '{"error":"No available clients"}')}
    assert time.monotonic() - began < SOON_SECONDS
    # With an agent that is silent, and questions that wait for it
    agent_client.agent()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(agent_client.ask, ["silent"] * 4))
    assert {answer.status_code for answer in answers} <= {500, 503}
    # With somebody whose pings are not answered
    agent_client.agent(pong="silent")
    assert agent_client.user.get("/api/connections").status_code == 200
    assert agent_client.ask().status_code in {200, 503}
    assert time.monotonic() - began < 3 * SOON_SECONDS


@pytest.mark.parametrize("how", ["silent", "close", "wrong id"])
def test_issues_3_6_10_and_22_no_available_clients_until_all_is_restarted(agent_client: AgentClient, how: str) -> None:
    # A stale agent does not answer its ping: with it alone there is no agent
    stale = agent_client.agent(pong=how)
    for _ in range(2):
        assert agent_client.ask().json() == {"error": "No available clients"}
    # A better one, or the same one come again, is asked at once; nothing was restarted
    assert agent_client.agent().id == agent_client.answer()["content"].split()[0]
    again = agent_client.agent(agent_id=stale.id)
    assert {agent_client.answer()["content"].split()[0] for _ in range(2)} >= {again.id}


def test_issue_3_nothing_tells_why_no_client_is_available(agent_client: AgentClient, elsewhere: Client) -> None:
    def cause() -> str:
        assert agent_client.ask().json() == {"error": "No available clients"}
        message: str = elsewhere.http.get("/jobs").json()["data"][0]["error"]["message"]
        return message

    assert cause() == "No agent is connected."
    agent_client.agent()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(agent_client.ask, ["slow 1.5"] * 6))
    assert {answer.status_code for answer in answers} == {200, 503}
    errors = [job["error"]["message"] for job in elsewhere.http.get("/jobs").json()["data"] if job["error"]]
    assert "No agent was idle within 4 s." in errors


def test_issue_10_and_pull_26_a_conversation_needs_both_ids(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    first = agent_client.answer("One")
    # The conversation's id alone goes on behind its last answer, not behind a parent that was made up
    second = agent_client.answer("Two", conversation_id=first["conversation_id"])
    assert agent.requests[1]["parent_id"] == first["response_id"]
    # Both go on where they say
    agent_client.answer("Three", conversation_id=first["conversation_id"], parent_id=second["response_id"])
    assert agent.requests[2]["parent_id"] == second["response_id"]
    # A parent alone begins a conversation, and is passed on
    third = agent_client.answer("Four", parent_id=second["response_id"])
    assert (agent.requests[3]["conversation_id"], agent.requests[3]["parent_id"]) == ("", second["response_id"])
    assert third["conversation_id"] != first["conversation_id"]


def test_issues_20_and_34_the_database_fails_for_want_of_its_directory(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    environment = {"SECRET_KEY": SECRET_KEY, "DATA_DIR": str(folder), "PATH": str(BIN)}
    subprocess.run(
        [str(BIN / "alembic"), "upgrade", "head"], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60
    )
    assert list(folder.glob("*.db"))


@pytest.mark.parametrize("content", ["error", "bad data", "wrong id", "no json", "number", "silent"])
def test_one_failed_question_makes_an_agent_unusable(agent_client: AgentClient, content: str) -> None:
    agent_client.agent()
    assert agent_client.ask(content).status_code == 500
    assert agent_client.answer()["content"]


@pytest.mark.parametrize("how", ["silent", "wrong id", "late 2.5"])
def test_an_agent_that_missed_one_ping_stays_dead(agent_client: AgentClient, how: str) -> None:
    # There every later question in its conversations was `Ping failed`, though it had recovered
    agent = agent_client.agent()
    conversation = agent_client.answer()["conversation_id"]
    agent.pong = how
    assert agent_client.ask(conversation_id=conversation).json() == {"error": "Ping failed"}
    agent.pong = "pong"
    assert agent_client.answer(conversation_id=conversation)["conversation_id"] == conversation


def test_a_busy_pool_is_an_immediate_503(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(agent_client.answer, ["slow 0.3 a", "slow 0.3 b", "slow 0.3 c", "slow 0.3 d"]))
    assert {answer["content"].removeprefix(f"{agent.id} received slow 0.3 ") for answer in answers} == set("abcd")


def test_an_unsolicited_message_is_taken_for_the_next_reply(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    agent.do(agent.send("unasked", "ChatGptResponse", json.dumps({"content": "never"})))
    agent.do(agent.send("unasked", "hello"))
    assert agent_client.answer()["content"] == f"{agent.id} received Hello"


@pytest.mark.parametrize("agents", [1, 2])
def test_eight_questions_at_once_get_in_each_others_way(agent_client: AgentClient, agents: int) -> None:
    connected = [agent_client.agent() for _ in range(agents)]
    questions = [f"question {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(agent_client.answer, questions))
    assert [answer["content"].split(" received ")[1] for answer in answers] == questions
    assert all(agent.requests for agent in connected)


def test_two_questions_at_once_in_one_conversation(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    first = agent_client.answer()
    with ThreadPoolExecutor(2) as threads:
        answering = [
            threads.submit(agent_client.answer, f"slow 0.2 {name}", conversation_id=first["conversation_id"]) for name in "ab"
        ]
        answers = [each.result() for each in answering]
    assert {answer["content"] for answer in answers} == {f"{agent.id} received slow 0.2 {name}" for name in "ab"}
    # The second goes on where the first ended
    assert agent.requests[1]["parent_id"] == first["response_id"]
    assert agent.requests[2]["parent_id"] in {answer["response_id"] for answer in answers}


def test_a_bearer_token_is_rejected(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    agent_client.agent()
    headers = {"Authorization": f"Bearer {agent_client.user.headers['Authorization']}"}
    assert checked(nobody.post("/api/ask", json={}, headers=headers))["content"]


def test_ping_frames_are_not_answered_while_idle(agent_client: AgentClient) -> None:
    with RawAgent(agent_client.url, ADMIN_KEY) as agent:
        agent.send(Ping(b"idle"))
        assert agent.pong() == b"idle"


def test_a_closed_agent_stays_listed(agent_client: AgentClient) -> None:
    for leave in (Agent.close, Agent.vanish):
        leave(agent_client.agent())
        wait_until(lambda: agent_client.agent_ids() == [], "the agent to be gone")


def test_issue_32_the_cause_of_an_agents_error_is_lost(agent_client: AgentClient, elsewhere: Client) -> None:
    agent_client.agent()
    agent_client.ask("error")
    (job,) = elsewhere.http.get("/jobs").json()["data"]
    assert job["error"]["code"] == "agent_bad_answer"
    assert job["error"]["message"] == "The agent reported: Unknown error"


def test_a_handshake_that_is_no_json_leaks_its_socket(agent_client: AgentClient) -> None:
    agent = agent_client.agent(agent_id=None, greeting="this is no JSON")
    wait_until(lambda: agent.is_over, "the connection to be closed")
    assert agent.close_code == 1007
    assert agent_client.agent_ids() == []
