"""ChatGPT-API-server's wire: every route, status and error of it; and, named after them, the defects that it has and we do not."""

import re
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx2
import pytest

from tests.agent import Agent
from tests.api.agency import ADMIN_KEY, Agency, admin
from tests.client import Client
from tests.stack import wait_until

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.fixture
def nobody(agency: Agency) -> Iterator[httpx2.Client]:
    """Somebody without a token."""
    with httpx2.Client(base_url=agency.url, timeout=30, verify=False) as http:
        yield http


@pytest.fixture
def elsewhere(agency: Agency) -> Iterator[Client]:
    """The same user, at our own API."""
    client = Client(agency.url, agency.user.headers["Authorization"])
    yield client
    client.close()


def _said(response: httpx2.Response, status: int = 200, kind: str = JSON) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == kind
    assert response.headers["access-control-allow-origin"] == "*"
    return response.json() if kind == JSON else response.text


def _post(client: httpx2.Client, path: str, **body: Any) -> httpx2.Response:
    return client.post(path, json=body)


# Every route


def test_health(nobody: httpx2.Client) -> None:
    assert _said(nobody.get("/health"), kind=TEXT) == "OK"


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
    assert _said(nobody.request(method, path), 404, TEXT) == "404 page not found"


@pytest.mark.parametrize("path", ["/health", "/api/connections", "/admin/users", "/api/nothing"])
def test_there_is_no_head(nobody: httpx2.Client, path: str) -> None:
    response = nobody.head(path)
    assert (response.status_code, response.headers["content-type"]) == (404, TEXT)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health/", 301), ("GET", "/api/connections/", 301), ("POST", "/api/ask/", 307), ("POST", "/admin/users/add/", 307)],
)
def test_a_slash_at_the_end_leads_to_the_path_without(nobody: httpx2.Client, method: str, path: str, status: int) -> None:
    response = nobody.request(method, f"{path}?a=b", follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (status, f"{path[:-1]}?a=b")


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
def test_a_body_that_cannot_be_read_is_refused_before_anybody_is_asked_who_he_is(nobody: httpx2.Client, body: bytes) -> None:
    assert _said(nobody.post("/api/ask", content=body), 400, TEXT) == '{"error":"Invalid request"}'


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
def test_json_is_read_as_go_reads_it(agency: Agency, body: bytes, content: str) -> None:
    agent = agency.agent()
    answer = _said(agency.user.post("/api/ask", content=body, headers={"Content-Type": "image/png"}))
    assert answer["content"] == f"{agent.id} heard {content}"
    assert agent.requests[0]["content"] == content


def test_json_is_written_as_go_writes_it(agency: Agency) -> None:
    agent = agency.agent(agent_id="<&>")
    response = agency.ask("ü <b> & \u2028")
    assert response.text.startswith('{"id":"","response_id":"')
    assert '"content":"\\u003c\\u0026\\u003e heard ü \\u003cb\\u003e \\u0026 \\u2028","error":""}' in response.text
    assert agent.requests[0]["content"] == "ü <b> & \u2028"


# Who may ask


def test_who_asks_without_a_token(nobody: httpx2.Client) -> None:
    assert _said(_post(nobody, "/api/ask", content="a"), 401) == {"error": "API key not provided"}


@pytest.mark.parametrize("token", ["", "nobody's", "Bearer", "Bearer nobody's", "cr_unknown", "Basic YTpi"])
def test_who_asks_with_a_wrong_token(nobody: httpx2.Client, token: str) -> None:
    response = nobody.post("/api/ask", json={"content": "a"}, headers={"Authorization": token})
    assert _said(response, 401) == {"error": "Invalid API key"}


def test_a_token_is_good_with_bearer_and_without(agency: Agency, nobody: httpx2.Client) -> None:
    agency.agent()
    for prefix in ("", "Bearer ", "bearer "):
        headers = {"Authorization": prefix + agency.user.headers["Authorization"]}
        assert _said(nobody.post("/api/ask", json={}, headers=headers))["content"]
    assert _said(nobody.post("/api/ask", json={}, headers={"Authorization": ADMIN_KEY}))["content"]


# The list of agents


def test_an_empty_list_is_null(nobody: httpx2.Client) -> None:
    response = nobody.get("/api/connections")
    assert _said(response) == {"connections": None}
    assert response.text == '{"connections":null}'


def test_the_list_of_agents(agency: Agency) -> None:
    agent = agency.agent()
    (before,) = _said(agency.user.get("/api/connections"))["connections"]
    assert list(before) == ["Ws", "Id", "Heartbeat", "LastMessageTime"]
    assert (before["Ws"], before["Id"]) == ({}, agent.id)
    assert before["LastMessageTime"] == "0001-01-01T00:00:00Z"
    connected = datetime.fromisoformat(before["Heartbeat"])

    agency.told()
    wait_until(lambda: _heartbeat(agency) > connected, "the answer to be seen")
    (after,) = agency.user.get("/api/connections").json()["connections"]
    assert connected < datetime.fromisoformat(after["LastMessageTime"]) < datetime.fromisoformat(after["Heartbeat"])


def _heartbeat(agency: Agency) -> datetime:
    return datetime.fromisoformat(agency.user.get("/api/connections").json()["connections"][0]["Heartbeat"])


# Users


def test_an_admin_makes_and_removes_users(agency: Agency, nobody: httpx2.Client) -> None:
    agency.agent()
    response = _post(nobody, "/admin/users/add", admin_key=ADMIN_KEY)
    made = _said(response)
    assert response.text == f'{{"token":"{made["token"]}","user_id":"{made["user_id"]}"}}'
    token = {"Authorization": made["token"]}
    assert nobody.post("/api/ask", json={}, headers=token).status_code == 200

    listed = _said(nobody.get("/admin/users", params={"admin_key": ADMIN_KEY}))["users"]
    (mine,) = [user for user in listed if user["user_id"] == made["user_id"]]
    assert list(mine) == ["user_id", "token"]

    for _ in range(2):  # also when there is no such user any more
        deletion = _post(nobody, "/admin/users/delete", admin_key=ADMIN_KEY, user_id=made["user_id"])
        assert _said(deletion) == {"message": "User deleted"}
        assert _said(nobody.post("/api/ask", json={}, headers=token), 401) == {"error": "Invalid API key"}
    listed = nobody.get("/admin/users", params={"admin_key": ADMIN_KEY}).json()["users"]
    assert made["user_id"] not in [user["user_id"] for user in listed]


def test_deleting_nobody_is_fine(nobody: httpx2.Client) -> None:
    for user in ({}, {"user_id": ""}, {"user_id": "nobody"}, {"user_id": "nul\0"}):
        assert _said(_post(nobody, "/admin/users/delete", admin_key=ADMIN_KEY, **user)) == {"message": "User deleted"}


def test_the_operator_cannot_be_deleted(agency: Agency, nobody: httpx2.Client) -> None:
    agency.agent()
    assert nobody.post("/api/ask", json={}, headers={"Authorization": ADMIN_KEY}).status_code == 200
    deletion = _post(nobody, "/admin/users/delete", admin_key=ADMIN_KEY, user_id="user_operator")
    assert _said(deletion, 400) == {"error": "This user cannot be deleted."}


def test_a_user_who_is_deleted_leaves_nothing_running(agency: Agency, nobody: httpx2.Client) -> None:
    agent = agency.agent()
    made = _post(nobody, "/admin/users/add", admin_key=ADMIN_KEY).json()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(nobody.post, "/api/ask", json={"content": "silent"}, headers={"Authorization": made["token"]})
        wait_until(lambda: agent.requests, "the question to arrive")
        _post(nobody, "/admin/users/delete", admin_key=ADMIN_KEY, user_id=made["user_id"])
        assert asked.result().status_code >= 400


ADMIN_POSTS = ["/admin/users/add", "/admin/users/delete", "/admin/agents/add", "/admin/agents/delete"]
ADMIN_LISTS = ["/admin/users", "/admin/agents"]


@pytest.mark.parametrize("path", ADMIN_POSTS)
def test_an_admins_body_that_cannot_be_read(nobody: httpx2.Client, path: str) -> None:
    for body in (b"", b"nothing", b"[]", b'{"admin_key": 5}'):
        assert _said(nobody.post(path, content=body), 400) == {"error": "Invalid request body"}


@pytest.mark.parametrize("path", ADMIN_POSTS)
def test_a_wrong_admin_key(nobody: httpx2.Client, path: str) -> None:
    for body in ({}, {"admin_key": ""}, {"admin_key": "wrong"}, {"admin_key": ADMIN_KEY[:-1]}):
        assert _said(_post(nobody, path, **body), 401) == {"error": "Invalid admin key"}


def test_an_agent_token_is_made_listed_and_deleted(agency: Agency, nobody: httpx2.Client) -> None:
    made = _said(_post(nobody, "/admin/agents/add", admin_key=ADMIN_KEY, name="kitchen"))
    assert list(made) == ["agent_token_id", "token"]
    in_query = nobody.get("/admin/agents", params={"admin_key": ADMIN_KEY})
    in_header = nobody.get("/admin/agents", headers={"Authorization": ADMIN_KEY})
    for response in (in_query, in_header):
        listed = _said(response)["agents"]
        (mine,) = [each for each in listed if each["agent_token_id"] == made["agent_token_id"]]
        assert mine["name"] == "kitchen"
        assert made["token"] not in str(listed)

    agent = agency.agent(token=made["token"])
    assert agency.told()["content"]
    for _ in range(2):
        deletion = _post(nobody, "/admin/agents/delete", admin_key=ADMIN_KEY, agent_token_id=made["agent_token_id"])
        assert _said(deletion) == {"message": "Agent token deleted"}
    assert Agent(agency.url, token=made["token"]).refused == 401
    # And who came with it is asked nothing any more
    assert agency.ask().json() == {"error": "No available clients"}
    wait_until(lambda: agent.is_over, "the agent to be sent away")
    assert len(agent.requests) == 1


# The agents' door


def test_a_plain_request_at_the_agents_door(nobody: httpx2.Client) -> None:
    for path in ("/client/register", "/agents/token/client/register"):
        response = nobody.get(path)
        assert _said(response, 400, TEXT) == "Bad Request"
        assert response.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "wrong", [{"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Key": "short"}, {"Sec-WebSocket-Key": "ü".encode()}]
)
def test_an_upgrade_to_something_else(nobody: httpx2.Client, wrong: dict[str, Any]) -> None:
    response = nobody.get("/client/register", headers={"Authorization": ADMIN_KEY, **UPGRADE, **wrong})
    assert _said(response, 400, TEXT) == "Bad Request"


@pytest.fixture
def agent_token(nobody: httpx2.Client) -> str:
    token: str = _post(nobody, "/admin/agents/add", admin_key=ADMIN_KEY).json()["token"]
    return token


def test_an_agent_token_is_good_in_the_header_the_query_and_the_path(agency: Agency, agent_token: str) -> None:
    ways: list[dict[str, Any]] = [
        {"token": agent_token},
        {"token": f"Bearer {agent_token}"},
        {"token": None, "path": f"/client/register?token={agent_token}"},
        {"token": None, "path": f"/agents/{agent_token}/client/register"},
        {"token": ADMIN_KEY},
    ]
    agents = [agency.agent(**way) for way in ways]
    assert sorted(agency.ids()) == sorted(str(agent.id) for agent in agents)


def test_an_agent_token_opens_nothing_else(nobody: httpx2.Client, agent_token: str) -> None:
    headers = {"Authorization": f"Bearer {agent_token}"}
    assert nobody.post("/api/ask", json={}, headers=headers).status_code == 401
    assert nobody.get("/jobs", headers=headers).status_code == 401
    assert nobody.get("/admin/users", headers=headers).status_code == 401


# Named after the defects of the original


def test_unauthenticated_agent_registration(agency: Agency) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"token": "wrong"},
        {"token": agency.user.headers["Authorization"]},  # a user's token lets nobody in as an agent
        {"path": "/client/register?token=wrong"},
        {"path": "/agents/wrong/client/register"},
        {"path": f"/client/register?token={ADMIN_KEY}"},  # not where it would be logged
    ]
    assert [Agent(agency.url, **way).refused for way in ways] == [401] * len(ways)
    assert agency.ids() == []


def test_registration_can_be_open(agency: Agency) -> None:
    agency.site.stack.start_web(AGENT_REGISTRATION="open")
    agent = agency.agent(url=agency.site.stack.urls[-1], token=None)
    assert agency.told()["content"] == f"{agent.id} heard Hello"


def test_the_unauthenticated_list_of_connections_gives_nobody_an_id(agency: Agency, nobody: httpx2.Client) -> None:
    agent = agency.agent()
    for headers in ({}, {"Authorization": "wrong"}):
        response = nobody.get("/api/connections", headers=headers)
        (listed,) = _said(response)["connections"]
        assert listed["Ws"] == {}
        assert str(agent.id) not in response.text
        assert re.fullmatch(r"[0-9a-f-]{7}…[0-9a-f-]{4}", listed["Id"])


def test_the_admin_key_disclosed_on_a_wrong_guess(nobody: httpx2.Client) -> None:
    for path in ADMIN_LISTS:
        for params in ({}, {"admin_key": "wrong"}):
            response = nobody.get(path, params=params)
            assert _said(response, 401) == {"error": "Invalid admin key"}
            assert ADMIN_KEY not in response.text


def test_admin_key_and_tokens_in_the_log(agency: Agency, nobody: httpx2.Client, agent_token: str) -> None:
    nobody.get("/admin/users", params={"admin_key": ADMIN_KEY})
    user_token = agency.user.headers["Authorization"]
    agency.agent(token=None, path=f"/agents/{agent_token}/client/register").close()
    agency.agent(token=None, path=f"/client/register?token={agent_token}").close()
    nobody.get(f"/agents/{agent_token}/client/other")
    nobody.get(f"//agents//{agent_token}/client/other")
    agency.ask()
    processes = [*agency.site.stack.webs, *agency.site.stack.workers]
    wait_until(lambda: "/agents/\\u2026/client/register" in processes[0].log(), "the request to be logged")
    told = [line for process in processes for line in process.log().splitlines()]
    assert [line for line in told if ADMIN_KEY in line or agent_token in line or user_token in line] == []


def test_questions_in_the_log(agency: Agency) -> None:
    agency.agent()
    secret = secrets.token_hex(16)
    for content in (secret, f"no json {secret}", f"bad data {secret}", f"wrong id {secret}"):
        agency.ask(content)
    processes = [*agency.site.stack.webs, *agency.site.stack.workers]
    assert not [process.name for process in processes if secret in process.log()]


def test_tokens_in_clear(agency: Agency, nobody: httpx2.Client) -> None:
    token = agency.user.headers["Authorization"]
    response = nobody.get("/admin/users", params={"admin_key": ADMIN_KEY})
    assert token not in response.text
    assert f'"{token[:7]}…{token[-4:]}"' in response.text


def test_conversations_of_other_users(agency: Agency, nobody: httpx2.Client) -> None:
    agency.agent()
    conversation = agency.told()["conversation_id"]
    other = _post(nobody, "/admin/users/add", admin_key=ADMIN_KEY).json()["token"]
    responses = [
        nobody.post("/api/ask", json={"conversation_id": each}, headers={"Authorization": other})
        for each in (conversation, "unknown")
    ]
    for response in responses:
        assert _said(response, 500) == {"error": "Conversation doesn't exists"}
    assert responses[0].content == responses[1].content
    assert set(responses[0].headers) == set(responses[1].headers)


@pytest.mark.parametrize("path", ["/api/ask", "/api/connections", "/admin/users", "/admin/users/add", "/health"])
def test_preflights_are_not_answered(nobody: httpx2.Client, path: str) -> None:
    asked = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    response = nobody.options(path, headers=asked)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in response.headers["access-control-allow-headers"]
    assert {"GET", "POST"} <= {method.strip() for method in response.headers["access-control-allow-methods"].split(",")}


def test_an_ask_of_an_empty_pool_locks_out_the_next_agent(agency: Agency) -> None:
    # The fatal one: there the pool stayed locked, and every later request hung for ever
    for _ in range(3):
        assert agency.ask().json() == {"error": "No available clients"}
    agency.agent()
    began = time.monotonic()
    assert agency.told()["content"]
    assert len(agency.ids()) == 1
    assert time.monotonic() - began < 5


def test_an_empty_pool_makes_requests_hang(agency: Agency) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: agency.ask(), range(8)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(503, '{"error":"No available clients"}')}


def test_one_failed_question_makes_an_agent_unusable(agency: Agency) -> None:
    agency.agent()
    assert agency.ask("error").status_code == 500
    assert agency.told()["content"]


def test_many_asks_at_once_get_in_each_others_way(agency: Agency) -> None:
    agents = [agency.agent() for _ in range(2)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(agency.told, [f"question {number}" for number in range(8)]))
    assert sorted(answer["content"].split(" heard ")[1] for answer in answers) == [f"question {number}" for number in range(8)]
    assert all(agent.requests for agent in agents)


def test_two_asks_at_once_in_one_conversation(agency: Agency) -> None:
    agent = agency.agent()
    first = agency.told()
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(agency.told, f"slow 0.2 {name}", conversation_id=first["conversation_id"]) for name in "ab"]
        answers = [each.result() for each in asked]
    assert {answer["content"] for answer in answers} == {f"{agent.id} heard slow 0.2 {name}" for name in "ab"}
    # The second goes on where the first ended
    assert agent.requests[1]["parent_id"] == first["response_id"]
    assert agent.requests[2]["parent_id"] in {answer["response_id"] for answer in answers}


def test_ping_frames_are_not_answered_while_idle(agency: Agency) -> None:
    agent = agency.agent(heartbeat_seconds=0.2)
    with pytest.raises(AssertionError):
        wait_until(lambda: agent.is_over, "the line to be cut", 1)


def test_a_closed_agent_stays_listed(agency: Agency) -> None:
    agency.agent().close()
    wait_until(lambda: agency.ids() == [], "the agent to be gone", 2)


def test_the_cause_of_an_agents_error_is_lost(agency: Agency, elsewhere: Client) -> None:
    agency.agent()
    agency.ask("error")
    (job,) = elsewhere.http.get("/jobs").json()["data"]
    assert job["error"]["code"] == "agent_bad_answer"
    assert job["error"]["message"] == "The agent reported: Unknown error"


def test_a_handshake_that_is_no_json_leaks_its_socket(agency: Agency) -> None:
    agent = agency.agent(agent_id=None, greeting="this is no JSON")
    wait_until(lambda: agent.is_over, "the connection to be closed")
    assert agent.close_code == 1007
    assert agency.ids() == []


# Through the other doors


def test_a_conversation_begun_here_goes_on_elsewhere_and_back(agency: Agency, elsewhere: Client) -> None:
    agent = agency.agent()
    first = agency.told("One")
    job = elsewhere.submit("Two", conversation_id=first["conversation_id"], model="agent")
    assert elsewhere.finished(job["id"])["text"] == f"{agent.id} heard Two"
    agency.told("Three", conversation_id=job["conversation_id"])
    assert [request["conversation_id"] for request in agent.requests] == ["", *[first["conversation_id"]] * 2]
    assert [request["content"] for request in agent.requests] == ["One", "Two", "Three"]


def test_a_conversation_begun_elsewhere_goes_on_here(agency: Agency, elsewhere: Client) -> None:
    agent = agency.agent()
    job = elsewhere.submit("One", system="Be brief.", model="demo?tokens=2&first_ms=0")
    elsewhere.finished(job["id"])
    told = agency.told("Two", conversation_id=job["conversation_id"])
    # The agent knows nothing of it, so it is told all
    assert agent.requests[0]["conversation_id"] == ""
    assert agent.requests[0]["content"] == "System: Be brief.\n\nUser: One\n\nAssistant: 1 2 \n\nUser: Two"
    # From then on it does
    for name in (job["conversation_id"], told["conversation_id"]):
        agency.told("More", conversation_id=name)
        assert agent.requests[-1]["conversation_id"] == told["conversation_id"]
        assert agent.requests[-1]["content"] == "More"


def test_an_earlier_answer_can_be_gone_on_from(agency: Agency) -> None:
    agent = agency.agent()
    first = agency.told("One")
    agency.told("Two", conversation_id=first["conversation_id"])
    agency.told("Another two", conversation_id=first["conversation_id"], parent_id=first["response_id"])
    assert agent.requests[-1]["parent_id"] == first["response_id"]


def test_the_admin_is_a_user_too(agency: Agency) -> None:
    agency.agent()
    with admin(agency.site) as operator:
        conversation = operator.post("/api/ask", json={}).json()["conversation_id"]
        assert operator.post("/api/ask", json={"conversation_id": conversation}).status_code == 200
