"""ChatGPT-API-server's wire: every route, status and error of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx2
import pytest

from dev.testing.agent import Agent
from dev.testing.client import Client
from dev.testing.stack import free_port, wait_until
from tests.api.agent_client import ADMIN_KEY, PLAIN, AgentClient, admin, checked, post
from tests.api.conftest import MAX_WAITING

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


# Every route


def test_health(nobody: httpx2.Client) -> None:
    assert checked(nobody.get("/health"), kind=PLAIN) == "OK"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/ask"),
        ("PUT", "/api/ask"),
        ("POST", "/api/connections"),
        ("GET", "/admin/users/add"),
        ("POST", "/client/register"),
        ("GET", "/api"),
        ("GET", "/api/nothing"),
        ("GET", "/admin/"),
        ("DELETE", "/admin/users"),
        ("GET", "/client/other"),
        ("GET", "/agents/token/other"),
        ("POST", "/health"),
    ],
)
def test_what_is_not_there_and_a_wrong_method_are_alike(nobody: httpx2.Client, method: str, path: str) -> None:
    assert checked(nobody.request(method, path), 404, PLAIN) == "404 page not found"


@pytest.mark.parametrize("path", ["/health", "/api/connections", "/admin/users", "/api/nothing"])
def test_there_is_no_head(nobody: httpx2.Client, path: str) -> None:
    response = nobody.head(path)
    assert (response.status_code, response.headers["content-type"]) == (404, PLAIN)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health/", 301), ("GET", "/api/connections/", 301), ("POST", "/api/ask/", 307), ("POST", "/admin/users/add/", 307)],
)
def test_a_slash_at_the_end_leads_to_the_path_without(nobody: httpx2.Client, method: str, path: str, status: int) -> None:
    response = nobody.request(method, f"{path}?a=b", follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (status, f"{path[:-1]}?a=b")


def test_whatever_stands_before_a_slash_is_led_on(nobody: httpx2.Client) -> None:
    response = nobody.get("/agents/a%0d%0ab: c/client/register/", follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (301, "/agents/a%0D%0Ab:%20c/client/register")


# How requests are read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"[]",
        b'"text"',
        b"5",
        b"true",
        b'{"content": 5}',
        b'{"content": {}}',
        b'{"content": "a", "parent_id": []}',
        b'{"content": "a"',
        b'{"content": NaN}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_cannot_be_read_is_refused_once_the_token_is_checked(nobody: httpx2.Client, body: bytes) -> None:
    known = {"Authorization": ADMIN_KEY}
    assert checked(nobody.post("/api/ask", content=body, headers=known), 400, PLAIN) == '{"error":"Invalid request"}'
    assert checked(nobody.post("/api/ask", content=body, headers={"Authorization": "wrong"}), 401) == {"error": "Invalid API key"}


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b'{"CONTENT": "any case"}', "any case"),
        (b'{"content": "no type of content", "unknown": {"deep": [1]}}', "no type of content"),
        (b'{"content": "text behind"} and more', "text behind"),
        (b'{"content": "null is absent", "parent_id": null, "conversation_id": null}', "null is absent"),
        (b' \n\t{"content": "blanks"}', "blanks"),
        (b'{"content": "half \\ud800 a character"}', "half \ufffd a character"),
        (b'{"content": "bad \xff UTF-8"}', "bad \ufffd UTF-8"),
        (b"null", ""),
        (b"{}", ""),
        (b'{"content": ""}', ""),
    ],
)
def test_json_is_read_as_go_reads_it(agent_client: AgentClient, body: bytes, content: str) -> None:
    agent = agent_client.agent()
    answer = checked(agent_client.user.post("/api/ask", content=body, headers={"Content-Type": "image/png"}))
    assert answer["content"] == f"{agent.id} received {content}"
    assert agent.requests[0]["content"] == content


def test_json_is_written_as_go_writes_it(agent_client: AgentClient) -> None:
    agent = agent_client.agent(agent_id="<&>")
    response = agent_client.ask("ü <b> & \u2028")
    assert response.text.startswith('{"id":"","response_id":"')
    assert '"content":"\\u003c\\u0026\\u003e received ü \\u003cb\\u003e \\u0026 \\u2028","error":""}' in response.text
    assert agent.requests[0]["content"] == "ü <b> & \u2028"


# Who may ask


def test_who_asks_without_a_token(nobody: httpx2.Client) -> None:
    assert checked(post(nobody, "/api/ask", content="a"), 401) == {"error": "API key not provided"}


@pytest.mark.parametrize("token", ["", "nobody's", "Bearer", "Bearer nobody's", "cr_unknown", "Basic YTpi"])
def test_who_asks_with_a_wrong_token(nobody: httpx2.Client, token: str) -> None:
    response = nobody.post("/api/ask", json={"content": "a"}, headers={"Authorization": token})
    assert checked(response, 401) == {"error": "Invalid API key"}


def test_a_token_is_good_with_bearer_and_without(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    agent_client.agent()
    for prefix in ("", "Bearer ", "bearer "):
        headers = {"Authorization": prefix + agent_client.user.headers["Authorization"]}
        assert checked(nobody.post("/api/ask", json={}, headers=headers))["content"]
    assert checked(nobody.post("/api/ask", json={}, headers={"Authorization": ADMIN_KEY}))["content"]


# The list of agents


def test_an_empty_list_is_null(nobody: httpx2.Client) -> None:
    response = nobody.get("/api/connections")
    assert checked(response) == {"connections": None}
    assert response.text == '{"connections":null}'


def test_the_list_of_agents(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    (before,) = checked(agent_client.user.get("/api/connections"))["connections"]
    assert list(before) == ["Ws", "Id", "Heartbeat", "LastMessageTime"]
    assert (before["Ws"], before["Id"]) == ({}, agent.id)
    assert before["LastMessageTime"] == "0001-01-01T00:00:00Z"
    connected = datetime.fromisoformat(before["Heartbeat"])

    agent_client.answer()
    wait_until(lambda: _heartbeat(agent_client) > connected, "the answer to be seen")
    (after,) = agent_client.user.get("/api/connections").json()["connections"]
    assert connected < datetime.fromisoformat(after["LastMessageTime"]) < datetime.fromisoformat(after["Heartbeat"])


def _heartbeat(agent_client: AgentClient) -> datetime:
    return datetime.fromisoformat(agent_client.user.get("/api/connections").json()["connections"][0]["Heartbeat"])


# Users


def test_an_admin_makes_and_removes_users(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    agent_client.agent()
    response = post(nobody, "/admin/users/add", admin_key=ADMIN_KEY)
    made = checked(response)
    assert response.text == f'{{"token":"{made["token"]}","user_id":"{made["user_id"]}"}}'
    token = {"Authorization": made["token"]}
    assert nobody.post("/api/ask", json={}, headers=token).status_code == 200

    listed = checked(nobody.get("/admin/users", params={"admin_key": ADMIN_KEY}))["users"]
    (mine,) = [user for user in listed if user["user_id"] == made["user_id"]]
    assert list(mine) == ["user_id", "token"]

    for _ in range(2):  # also when there is no such user any more
        deletion = post(nobody, "/admin/users/delete", admin_key=ADMIN_KEY, user_id=made["user_id"])
        assert checked(deletion) == {"message": "User deleted"}
        assert checked(nobody.post("/api/ask", json={}, headers=token), 401) == {"error": "Invalid API key"}
    listed = nobody.get("/admin/users", params={"admin_key": ADMIN_KEY}).json()["users"]
    assert made["user_id"] not in [user["user_id"] for user in listed]


def test_deleting_nobody_is_fine(nobody: httpx2.Client) -> None:
    for user in ({}, {"user_id": ""}, {"user_id": "nobody"}, {"user_id": "nul\0"}):
        assert checked(post(nobody, "/admin/users/delete", admin_key=ADMIN_KEY, **user)) == {"message": "User deleted"}


def test_the_operator_cannot_be_deleted(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    agent_client.agent()
    assert nobody.post("/api/ask", json={}, headers={"Authorization": ADMIN_KEY}).status_code == 200
    deletion = post(nobody, "/admin/users/delete", admin_key=ADMIN_KEY, user_id="user_operator")
    assert checked(deletion, 400) == {"error": "This user cannot be deleted."}


def test_a_user_who_is_deleted_leaves_nothing_running(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    agent = agent_client.agent()
    made = post(nobody, "/admin/users/add", admin_key=ADMIN_KEY).json()
    with ThreadPoolExecutor(1) as threads:
        answering = threads.submit(nobody.post, "/api/ask", json={"content": "silent"}, headers={"Authorization": made["token"]})
        wait_until(lambda: agent.requests, "the question to arrive")
        post(nobody, "/admin/users/delete", admin_key=ADMIN_KEY, user_id=made["user_id"])
        assert answering.result().status_code >= 400


ADMIN_POSTS = ["/admin/users/add", "/admin/users/delete", "/admin/agents/add", "/admin/agents/delete"]
ADMIN_LISTS = ["/admin/users", "/admin/agents"]


@pytest.mark.parametrize("path", ADMIN_POSTS)
def test_an_admins_body_that_cannot_be_read(nobody: httpx2.Client, path: str) -> None:
    for body in (b"", b"nothing", b"[]", b'{"admin_key": 5}'):
        assert checked(nobody.post(path, content=body), 400) == {"error": "Invalid request body"}


@pytest.mark.parametrize("path", ADMIN_POSTS)
def test_a_wrong_admin_key(nobody: httpx2.Client, path: str) -> None:
    for body in ({}, {"admin_key": ""}, {"admin_key": "wrong"}, {"admin_key": ADMIN_KEY[:-1]}):
        assert checked(post(nobody, path, **body), 401) == {"error": "Invalid admin key"}


def test_an_agent_token_is_made_listed_and_deleted(agent_client: AgentClient, nobody: httpx2.Client) -> None:
    made = checked(post(nobody, "/admin/agents/add", admin_key=ADMIN_KEY, name="kitchen"))
    assert list(made) == ["agent_token_id", "token"]
    in_query = nobody.get("/admin/agents", params={"admin_key": ADMIN_KEY})
    in_header = nobody.get("/admin/agents", headers={"Authorization": ADMIN_KEY})
    for response in (in_query, in_header):
        listed = checked(response)["agents"]
        (mine,) = [each for each in listed if each["agent_token_id"] == made["agent_token_id"]]
        assert mine["name"] == "kitchen"
        assert made["token"] not in str(listed)

    agent = agent_client.agent(token=made["token"])
    assert agent_client.answer()["content"]
    for _ in range(2):
        deletion = post(nobody, "/admin/agents/delete", admin_key=ADMIN_KEY, agent_token_id=made["agent_token_id"])
        assert checked(deletion) == {"message": "Agent token deleted"}
    assert Agent(agent_client.url, token=made["token"]).refused == 401
    # And an agent that came with it is asked nothing any more
    assert agent_client.ask().json() == {"error": "No available clients"}
    wait_until(lambda: agent.is_over, "the agent to be sent away")
    assert len(agent.requests) == 1


# Agents connect


def test_a_plain_request_at_the_agents_url(nobody: httpx2.Client) -> None:
    for path in ("/client/register", "/agents/token/client/register"):
        response = nobody.get(path)
        assert checked(response, 400, PLAIN) == "Bad Request"
        assert response.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "wrong", [{"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Key": "short"}, {"Sec-WebSocket-Key": "ü".encode()}]
)
def test_an_upgrade_to_something_else(nobody: httpx2.Client, wrong: dict[str, Any]) -> None:
    response = nobody.get("/client/register", headers={"Authorization": ADMIN_KEY, **UPGRADE, **wrong})
    assert checked(response, 400, PLAIN) == "Bad Request"


def test_an_agent_token_is_good_in_the_header_the_query_and_the_path(agent_client: AgentClient, agent_token: str) -> None:
    ways: list[dict[str, Any]] = [
        {"token": agent_token},
        {"token": f"Bearer {agent_token}"},
        {"token": None, "path": f"/client/register?token={agent_token}"},
        {"token": None, "path": f"/agents/{agent_token}/client/register"},
        {"token": ADMIN_KEY},
    ]
    agents = [agent_client.agent(**way) for way in ways]
    assert sorted(agent_client.agent_ids()) == sorted(str(agent.id) for agent in agents)


def test_an_agent_token_opens_nothing_else(nobody: httpx2.Client, agent_token: str) -> None:
    headers = {"Authorization": f"Bearer {agent_token}"}
    assert nobody.post("/api/ask", json={}, headers=headers).status_code == 401
    assert nobody.get("/jobs", headers=headers).status_code == 401
    assert nobody.get("/admin/users", headers=headers).status_code == 401


def test_registration_can_be_open(agent_client: AgentClient) -> None:
    agent_client.deployment.stack.start_web(AGENT_REGISTRATION="open")
    agent = agent_client.agent(url=agent_client.deployment.stack.urls[-1], token=None)
    assert agent_client.answer()["content"] == f"{agent.id} received Hello"
    # A token does no harm there
    agent_client.agent(
        url=agent_client.deployment.stack.urls[-1], token="anything", path="/agents/anything/client/register?token=anything"
    )


# What is away


@pytest.fixture
def away(agent_client: AgentClient) -> Iterator[httpx2.Client]:
    """An operator at an API process whose database is away."""
    web = agent_client.deployment.stack.start_web(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with httpx2.Client(base_url=agent_client.deployment.stack.urls.pop(), timeout=30, verify=False) as http:
        yield http
    agent_client.deployment.stack.webs.remove(web)
    web.stop()


def test_a_database_that_is_away(agent_client: AgentClient, away: httpx2.Client) -> None:
    agent = agent_client.agent()
    for token in (agent_client.user.headers["Authorization"], ADMIN_KEY):
        answering = away.post("/api/ask", json={}, headers={"Authorization": token})
        assert checked(answering, 500) == {"error": "Failed to verify API key"}
    added = post(away, "/admin/users/add", admin_key=ADMIN_KEY)
    assert checked(added, 500) == {"error": "Failed to insert user_id and token into database"}
    deleted = post(away, "/admin/users/delete", admin_key=ADMIN_KEY, user_id="somebody")
    assert checked(deleted, 500) == {"error": "Failed to delete user from database"}
    listed = checked(away.get("/admin/users", params={"admin_key": ADMIN_KEY}), 500)
    assert list(listed) == ["error", "message"]
    assert listed["message"] == "Failed to get users from database"

    for path, body in (("/admin/agents/add", {}), ("/admin/agents/delete", {"agent_token_id": "a"})):
        assert list(checked(post(away, path, admin_key=ADMIN_KEY, **body), 500)) == ["error"]
    assert checked(away.get("/admin/agents", params={"admin_key": ADMIN_KEY}), 500)["message"]
    # What needs no database is answered, and a caller who cannot be identified is nobody
    assert checked(away.get("/health"), kind=PLAIN) == "OK"
    known = away.get("/api/connections", headers={"Authorization": agent_client.user.headers["Authorization"]})
    assert len(checked(known)["connections"]) == 1
    assert str(agent.id) not in known.text
    assert Agent(str(away.base_url).rstrip("/"), token="cr_any").refused == 503


def test_a_redis_that_is_away(agent_client: AgentClient) -> None:
    web = agent_client.deployment.stack.start_web(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    with httpx2.Client(base_url=agent_client.deployment.stack.urls.pop(), timeout=30, verify=False) as http:
        assert list(checked(http.get("/api/connections"), 503)) == ["error"]
    agent_client.deployment.stack.webs.remove(web)
    web.stop()


# What is too much


def test_a_body_or_a_question_that_is_too_large(agent_client: AgentClient) -> None:
    assert list(checked(agent_client.user.post("/api/ask", content=b" " * 50_000_000), 413)) == ["error"]
    assert list(checked(agent_client.ask("a" * 5_000_000), 400)) == ["error"]


def test_more_questions_than_a_user_may_have_waiting(idle_client: Client) -> None:
    for _ in range(MAX_WAITING):
        idle_client.submit()
    refused = idle_client.http.post("/api/ask", json={"content": "One too many"})
    assert checked(refused, 429) == {"error": f"{MAX_WAITING} of your jobs are waiting already."}
    assert int(refused.headers["retry-after"]) > 0


# In the other dialects


def test_a_conversation_begun_here_goes_on_elsewhere_and_back(agent_client: AgentClient, elsewhere: Client) -> None:
    agent = agent_client.agent()
    first = agent_client.answer("One")
    job = elsewhere.submit("Two", conversation_id=first["conversation_id"], model="agent")
    assert elsewhere.finished(job["id"])["text"] == f"{agent.id} received Two"
    agent_client.answer("Three", conversation_id=job["conversation_id"])
    assert [request["conversation_id"] for request in agent.requests] == ["", *[first["conversation_id"]] * 2]
    assert [request["content"] for request in agent.requests] == ["One", "Two", "Three"]


def test_a_conversation_begun_elsewhere_goes_on_here(agent_client: AgentClient, elsewhere: Client) -> None:
    agent = agent_client.agent()
    job = elsewhere.submit("One", system="Be brief.", model="demo?tokens=2&first_ms=0")
    elsewhere.finished(job["id"])
    answer = agent_client.answer("Two", conversation_id=job["conversation_id"])
    # The agent knows nothing of it, so it is told all
    assert agent.requests[0]["conversation_id"] == ""
    assert agent.requests[0]["content"] == "System: Be brief.\n\nUser: One\n\nAssistant: 1 2 \n\nUser: Two"
    # From then on it does
    for name in (job["conversation_id"], answer["conversation_id"]):
        agent_client.answer("More", conversation_id=name)
        assert agent.requests[-1]["conversation_id"] == answer["conversation_id"]
        assert agent.requests[-1]["content"] == "More"


def test_an_earlier_answer_can_be_gone_on_from(agent_client: AgentClient) -> None:
    agent = agent_client.agent()
    first = agent_client.answer("One")
    agent_client.answer("Two", conversation_id=first["conversation_id"])
    agent_client.answer("Another two", conversation_id=first["conversation_id"], parent_id=first["response_id"])
    assert agent.requests[-1]["parent_id"] == first["response_id"]


def test_the_admin_is_a_user_too(agent_client: AgentClient) -> None:
    agent_client.agent()
    with admin(agent_client.deployment) as operator:
        conversation = operator.post("/api/ask", json={}).json()["conversation_id"]
        assert operator.post("/api/ask", json={"conversation_id": conversation}).status_code == 200
