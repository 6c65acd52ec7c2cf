"""The wire of ChatGPT API powered by NestJS: its routes, statuses and errors, and the defects that it no longer has."""

import secrets
import uuid
from typing import Any

import httpx2
import orjson
import pytest
from pydantic import SecretStr

from dev.testing.client import PASSWORD, Client, counted
from dev.testing.stack import SECRET_KEY
from shared.models import User
from shared.security.vault import Vault
from tests.api.chatgpt_api_nest.calls import ask, post, use
from tests.api.conftest import MAX_CHARS, ON_SQLITE
from tests.api.deployment import Deployment

pytestmark = ON_SQLITE

KEY = "sk-a-users-own-key-0123456789"
NOT_FOUND = (404, "There is no such conversation.", "Not Found")


def _read_stream(client: Client, request_id: str, **headers: str) -> list[tuple[int, dict[str, Any]]]:
    """Read a stream as documented: an empty line, then blocks of an id and a line of JSON."""
    response = client.http.get(f"/chat/process/{request_id}", headers=headers)
    assert response.status_code == 200
    assert response.content.startswith(b"\nid: ")
    events = []
    for block in response.content[1:].replace(b": heartbeat\n", b"").removesuffix(b"\n\n").split(b"\n\n"):
        number, data = block.split(b"\n")
        events.append((int(number.removeprefix(b"id: ")), orjson.loads(data.removeprefix(b"data: "))))
    return events


def _assert_refused(response: httpx2.Response, status: int, message: object, error: str) -> None:
    assert response.status_code == status, response.text
    assert response.json() == {"statusCode": status, "message": message, "error": error}


def test_an_answer_comes_whole(client: Client) -> None:
    use(client, "demo?tokens=5")
    answer = ask(client)
    assert list(answer) == ["session_id", "id", "content", "finish_reason", "usage"]
    assert uuid.UUID(answer["session_id"]).version == 4
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["content"], answer["finish_reason"]) == (counted(5), "stop")
    assert set(answer["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_a_stream_is_read_late_twice_and_from_the_middle(client: Client) -> None:
    use(client, "demo?tokens=5")
    asked = ask(client, stream=True)
    assert list(asked) == ["session_id", "request_id"]
    events = _read_stream(client, asked["request_id"])
    assert [number for number, _ in events] == list(range(1, len(events) + 1))
    *deltas, last = [data for _, data in events]
    assert all(set(data) == {"id", "delta", "finish_reason"} and data["finish_reason"] is None for data in deltas)
    assert list(last) == ["id", "content", "finish_reason", "usage"]
    assert "".join(data["delta"] for data in deltas) == last["content"] == counted(5)
    assert {data["id"] for data in deltas} == {last["id"]}
    assert _read_stream(client, asked["request_id"]) == events
    assert _read_stream(client, asked["request_id"], **{"Last-Event-ID": "3"}) == events[3:]
    assert _read_stream(client, f"{asked['request_id']}?lastEventId=3") == events[3:]
    over = client.http.get(f"/chat/process/{asked['request_id']}", headers={"Last-Event-ID": str(len(events))})
    assert over.status_code == 204
    bad = client.http.get(f"/chat/process/{asked['request_id']}", headers={"Last-Event-ID": "x"})
    _assert_refused(bad, 400, ["Last-Event-ID must be a number"], "Bad Request")


def test_a_stream_has_the_documented_headers(client: Client) -> None:
    headers = client.http.get("/chat/process/nothing").headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "private, no-cache, no-store, must-revalidate, max-age=0, no-transform"
    assert (headers["pragma"], headers["expire"], headers["x-accel-buffering"]) == ("no-cache", "0", "no")


def test_unknown_and_foreign_request_ids_answer_alike(deployment: Deployment, client: Client) -> None:
    foreign = ask(deployment.user(), stream=True)["request_id"]
    for request_id in ("nothing", foreign):
        assert _read_stream(client, request_id) == [(1, {"error": "No such request id"})]


@pytest.mark.parametrize("name", ["session_id", "sessionId"])
def test_the_readmes_session_id_is_not_ignored(client: Client, name: str) -> None:
    first = ask(client, "first")
    assert ask(client, "second", **{name: first["session_id"]})["session_id"] == first["session_id"]
    assert len(client.http.get(f"/chat/session/{first['session_id']}").json()["messages"]) == 4


def test_forms_are_read(client: Client) -> None:
    mine = str(uuid.uuid4())
    whole = client.http.post("/chat/process", data={"message": "Hello", "session_id": mine, "stream": "false"})
    assert whole.status_code == 201
    assert whole.json()["session_id"] == mine
    assert "content" in whole.json()
    assert "request_id" in client.http.post("/chat/process", data={"message": "Hello", "stream": "true"}).json()


def test_stream_is_truthy_as_in_javascript(client: Client) -> None:
    truthy: list[Any] = ["false", 1, [], {}]
    falsy: list[Any] = [False, 0, "", None]
    assert all("request_id" in ask(client, stream=value) for value in truthy)
    assert all("content" in ask(client, stream=value) for value in falsy)


def test_what_is_wrong_is_listed(client: Client) -> None:
    empty, no_uuid = "message should not be empty", "sessionId must be a UUID"
    for body, complaints in (
        ({}, [empty]),
        ({"message": ""}, [empty]),
        ({"message": None, "sessionId": "x"}, [empty, no_uuid]),
        ({"message": "a", "sessionId": "conv_x"}, [no_uuid]),
        ({"message": "a", "session_id": 5}, [no_uuid]),
    ):
        _assert_refused(client.http.post("/chat/process", json=body), 400, complaints, "Bad Request")
    for content in (b"{", b"[]", b"5"):
        broken = client.http.post("/chat/process", content=content, headers={"Content-Type": "application/json"})
        assert (broken.status_code, broken.json()["error"]) == (400, "Bad Request")
    assert client.http.post("/chat/process", json={"message": "a\x00"}).status_code == 400
    assert client.http.post("/chat/process", json={"message": "a" * (MAX_CHARS + 1)}).status_code == 400


def test_a_message_may_be_a_number(client: Client) -> None:
    asked = ask(client, 42)
    assert client.http.get(f"/chat/session/{asked['session_id']}").json()["chat_name"] == "42"


def test_a_special_token_in_the_prompt_is_text(client: Client) -> None:
    assert ask(client, "<|endoftext|>")["finish_reason"] == "stop"


def test_nothing_is_served_without_a_token(anonymous: httpx2.Client) -> None:
    for path in ("/chat/sessions", "/user/config", "/user/usage", "/chat/process/x"):
        refused = anonymous.get(path, headers={"Authorization": "Bearer x"})
        assert (refused.status_code, refused.json()) == (401, {"statusCode": 401, "message": "Unauthorized"})


def test_an_unknown_path_or_method_is_not_there(client: Client) -> None:
    _assert_refused(client.http.get("/chat/nope"), 404, "Cannot GET /chat/nope", "Not Found")
    _assert_refused(client.http.put("/chat/sessions"), 404, "Cannot PUT /chat/sessions", "Not Found")


def test_a_providers_error_crashes_nothing_and_is_told(client: Client) -> None:
    use(client, "demo?fail=400&fail_times=9")
    asked = ask(client, stream=True)
    [(number, data)] = _read_stream(client, asked["request_id"])
    assert (number, set(data)) == (1, {"error"})
    whole = client.http.post("/chat/process", json={"message": "Hello again"})
    _assert_refused(whole, 500, data["error"], "Internal Server Error")
    use(client, "demo")
    assert ask(client)["finish_reason"] == "stop"


def test_events_that_come_together_are_not_lost(client: Client) -> None:
    use(client, "demo?tokens=300&gap_ms=0")
    assert ask(client)["content"] == counted(300)


def test_sessions_are_listed_and_shown(client: Client) -> None:
    assert client.http.get("/chat/sessions").json() == []
    asked = ask(client, "A longer first message")
    session_id, total = asked["session_id"], asked["usage"]["total_tokens"]
    row = {"id": session_id, "chat_name": "A longer first message", "token": total}
    assert client.http.get("/chat/sessions").json() == [row]
    named = {"id": session_id, "chat_name": row["chat_name"]}
    assert client.http.get("/chat/sessions?page=1&take=5").json() == {"session_ids": [named]}
    assert client.http.get("/chat/sessions?page=2&take=5").json() == {"session_ids": []}
    assert client.http.get("/chat/sessions?page=0").status_code == 400
    whole = client.http.get(f"/chat/session/{session_id}").json()
    assert [set(message) for message in whole["messages"]] == [{"id", "role", "content"}] * 2
    assert whole["messages"][1]["id"] == asked["id"]
    assert client.http.get(f"/chat/history/{session_id}").json() == whole
    assert client.http.get("/user/usage").json()["token"] == total


def test_a_session_keeps_its_name_without_its_first_message(client: Client) -> None:
    session_id = ask(client, "What it is called")["session_id"]
    path = f"/chat/session/{session_id}"
    first = client.http.get(path).json()["messages"][0]
    assert client.http.delete(f"/chat/remove/{session_id}/{first['id']}").json()["chat_name"] == "What it is called"
    ask(client, "Something else", session_id=session_id)
    assert client.http.get(path).json()["chat_name"] == "What it is called"


def test_the_older_spelling_of_a_sessions_id_takes_any_name(client: Client) -> None:
    assert ask(client, session_id="my session")["session_id"] == "my session"
    assert len(client.http.get("/chat/session/my session").json()["messages"]) == 2
    assert client.http.post("/chat/process", json={"sessionId": "another", "message": "x"}).status_code == 400


def test_a_reader_of_what_is_not_there_does_not_come_back_for_ever(client: Client) -> None:
    path = f"/chat/process/{secrets.token_hex(8)}"
    assert "error" in client.http.get(path).text
    assert client.http.get(path, headers={"Last-Event-ID": "1"}).status_code == 204


def test_a_session_is_instructed_trimmed_and_deleted(client: Client) -> None:
    asked = ask(client)
    path = f"/chat/session/{asked['session_id']}"
    named = {"id": asked["session_id"], "chat_name": "Hello"}
    assert post(client, "/chat/system_message", session_id=asked["session_id"], message="Be brief") == named
    assert client.http.get(path).json()["messages"][0] == {"id": "system", "role": "system", "content": "Be brief"}
    assert client.http.delete(f"/chat/remove/{asked['session_id']}/nothing").json() == named
    assert len(client.http.get(path).json()["messages"]) == 3
    assert client.http.delete(f"/chat/remove/{asked['session_id']}/{asked['id']}").json() == named
    whole = client.http.get(path).json()
    assert [message["role"] for message in whole["messages"]] == ["system", "user"]
    gone = client.http.delete(path).json()
    assert gone.pop("user_id")
    assert gone == whole
    assert client.http.get("/chat/sessions").json() == []


def test_a_session_that_is_not_there(client: Client) -> None:
    nobody = uuid.uuid4()
    empty = client.http.get(f"/chat/session/{nobody}")
    assert (empty.status_code, empty.content, empty.headers["content-length"]) == (200, b"", "0")
    _assert_refused(client.http.delete(f"/chat/session/{nobody}"), *NOT_FOUND)
    _assert_refused(client.http.delete(f"/chat/remove/{nobody}/x"), *NOT_FOUND)
    body = {"session_id": str(nobody), "message": "a"}
    _assert_refused(client.http.post("/chat/system_message", json=body), *NOT_FOUND)
    complaints = ["session_id must be a UUID", "message should not be empty"]
    _assert_refused(client.http.post("/chat/system_message", json={"session_id": "x"}), 400, complaints, "Bad Request")


def test_another_users_session_is_out_of_reach(deployment: Deployment, client: Client) -> None:
    session_id = ask(client, "a secret")["session_id"]
    other = deployment.user()
    assert other.http.get(f"/chat/session/{session_id}").content == b""
    assert other.http.delete(f"/chat/session/{session_id}").status_code == 404
    assert ask(other, "mine", session_id=session_id)["session_id"] == session_id
    assert other.http.get(f"/chat/session/{session_id}").json()["chat_name"] == "mine"
    assert len(client.http.get(f"/chat/session/{session_id}").json()["messages"]) == 2


def test_a_users_key_is_their_own_sealed_and_masked(deployment: Deployment, client: Client) -> None:
    # The operator has a key; nobody is shown it.
    assert client.http.get("/user/config").json() == {"model": "demo", "openai_key": ""}
    shown = post(client, "/user/config", openai_key=KEY)
    assert shown["openai_key"] not in {"", KEY}
    assert client.http.get("/user/config").json() == shown
    assert post(client, "/user/config") == shown
    assert post(client, "/user/config", **shown)["openai_key"] == shown["openai_key"]
    with deployment.database.read() as session:
        user = session.get(User, client.http.get("/user/usage").json()["id"])
    assert user
    assert user.provider_key
    assert KEY not in user.provider_key
    assert Vault(SecretStr(SECRET_KEY)).open(user.provider_key) == KEY
    assert post(client, "/user/config", openai_key="", model="") == {"model": "demo", "openai_key": ""}


def test_a_wrong_config_is_refused(client: Client) -> None:
    for body, complaint in (
        ({"admin": "1"}, "property admin should not exist"),
        ({"model": 1}, "model must be a string"),
        ({"openai_key": None}, "openai_key must be a string"),
        ({"openai_key": "a\nb"}, "openai_key must be at most 1024 printable ASCII characters"),
    ):
        _assert_refused(client.http.post("/user/config", json=body), 400, [complaint], "Bad Request")


def test_accounts_are_made_and_used_by_form_and_by_json(anonymous: httpx2.Client) -> None:
    credentials = {"username": f"user-{secrets.token_hex(8)}", "password": PASSWORD}
    made = anonymous.post("/auth/register", data=credentials)
    assert made.status_code == 201
    assert made.json()["sub"] == made.json()["id"]
    for how in ({"data": credentials}, {"json": credentials}):
        login = anonymous.post("/auth/login", **how)  # type: ignore[arg-type]  # one name at a time
        assert login.status_code == 201, login.text
        assert login.json()["access_token"]


def test_a_missing_password_is_refused(anonymous: httpx2.Client) -> None:
    for body in ({"json": {"username": "ann"}}, {"data": {"username": "ann"}}):
        assert anonymous.post("/auth/register", **body).status_code == 400  # type: ignore[arg-type]  # one name at a time


def test_a_conversation_goes_on_from_dialect_to_dialect(client: Client) -> None:
    job = client.submit("first")
    client.finished(job["id"])
    asked = ask(client, "second", session_id=job["conversation_id"])
    assert asked["session_id"] == job["conversation_id"]
    third = client.finished(client.submit("third", conversation_id=asked["session_id"])["id"])
    assert third["conversation_id"] == job["conversation_id"]
    whole = client.http.get(f"/chat/session/{asked['session_id']}").json()
    assert [message["content"] for message in whole["messages"][::2]] == ["first", "second", "third"]
    mine = ask(client, "here")["session_id"]
    assert client.finished(client.submit("there", conversation_id=mine)["id"])["status"] == "completed"
    assert len(client.http.get(f"/chat/session/{mine}").json()["messages"]) == 4
