"""The wire of Proxy API for ChatGPT: every route, status and refusal, and the defects that are not copied."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import jwt
import pytest
from sqlalchemy import update

from api.dialects.chatgpt_proxy.reserved import RESERVED
from dev.testing.client import Client, counted
from shared.models import User
from tests.api.deployment import Deployment, deployed

ADMIN_KEY = "an-admin-key-for-tests-0123456789"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
QUICK = "demo?tokens=3&first_ms=0&gap_ms=0"
ECHO = "demo?echo=1&first_ms=0&gap_ms=0"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("proxy")
    settings = {
        "ADMIN_KEY": ADMIN_KEY,
        "DEFAULT_MODEL": "demo?tokens=3&first_ms=0&gap_ms=0",
        "MAX_TRIES": "1",
        "VISION_MODELS": "none",
    }
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", settings) as started:
        started.stack.start_web(ANONYMOUS_ACCESS="on", TRUSTED_PROXIES="1")
        yield started


@pytest.fixture
def client(client: Client) -> Iterator[Client]:
    """A new user; afterwards the system prompt that all share is removed."""
    yield client
    with Client(client.url, "x") as operator:
        assert operator.http.post("/system", json={"content": ""}, headers=ADMIN).status_code == 200


def use(deployment: Deployment, client: Client, model: str) -> None:
    user_id = jwt.decode(client.token, options={"verify_signature": False})["sub"]
    with deployment.database.write() as session:
        session.execute(update(User).where(User.id == user_id).values(model=model))


def send(client: Client, chat: str, content: Any = "Hello") -> dict[str, Any]:
    response = client.http.post(f"/{chat}/chat", json={"content": content})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(response: httpx2.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    error: str = response.json()["error"]
    return error


def test_a_client_is_greeted_and_a_browser_is_shown_the_documentation(client: Client) -> None:
    for method in ("GET", "POST"):
        greeting = client.http.request(method, "/")
        assert (greeting.status_code, greeting.text) == (200, "Hello, World!")
        assert greeting.headers["content-type"].startswith("text/html")
    shown = client.http.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
    assert (shown.status_code, shown.headers["location"]) == (302, "/docs")


def test_a_browser_behind_a_proxy_is_shown_the_documentation_under_its_prefix(deployment: Deployment) -> None:
    headers = {"Accept": "text/html", "X-Forwarded-Prefix": "/relay"}
    assert httpx2.get(f"{deployment.stack.urls[-1]}/", headers=headers).headers["location"] == "/relay/docs"


def test_an_answer_has_the_documented_shape_sorted_and_with_a_newline(client: Client) -> None:
    response = client.http.post("/a/chat", json={"content": "Hello"})
    assert list(response.json()) == ["content", "role", "tokens"]
    assert list(response.json()["tokens"]) == ["completion_tokens", "prompt_tokens", "total_tokens"]
    assert response.json()["content"] == counted(3)
    assert response.text.endswith("}\n")


def test_the_first_message_works_without_a_global_prompt(client: Client) -> None:
    assert client.http.get("/system").json() == {"content": None}
    assert send(client, "first")["content"] == counted(3)
    assert [message["role"] for message in client.http.get("/first/chat").json()] == ["user", "assistant"]


def test_a_new_chat_copies_the_global_prompt(deployment: Deployment, client: Client) -> None:
    use(deployment, client, ECHO)
    assert client.http.post("/system", json={"content": "Be kind."}, headers=ADMIN).json() == {}
    assert client.http.get("/system").json() == {"content": "Be kind."}
    assert json.loads(send(client, "copy")["content"])[0] == {"role": "system", "content": "Be kind."}
    client.http.post("/system", json={"content": "Be brief."}, headers=ADMIN)
    assert client.http.get("/copy/system").json() == {"content": "Be kind.", "role": "system"}
    assert client.http.post("/copy/system", json={"content": "Be bold."}).json() == {}
    assert json.loads(send(client, "copy")["content"])[0] == {"role": "system", "content": "Be bold."}
    client.http.post("/copy/system", json={"content": ""})
    assert client.http.get("/copy/system").json()["content"] == "Be brief."
    assert client.http.get("/copy/chat").json()[0] == {"content": "Be brief.", "role": "system"}


def test_the_global_prompt_is_the_operators(client: Client, deployment: Deployment) -> None:
    refused(client.http.post("/system", json={"content": "Mine."}), 403)
    refused(httpx2.get(f"{deployment.url}/system"), 401)


@pytest.mark.parametrize(("method", "path"), [("GET", "/a/chat"), ("POST", "/a/chat"), ("POST", "/mod"), ("POST", "/a/clear")])
def test_a_caller_needs_a_token(deployment: Deployment, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "rubbish"}):
        refused(httpx2.request(method, deployment.url + path, headers=headers), 401)


def test_the_anonymous_share_one_user_where_the_operator_allows_it(deployment: Deployment) -> None:
    url = deployment.stack.urls[-1]
    assert httpx2.post(f"{url}/shared/chat", json={"content": "Hello"}, timeout=30).status_code == 200
    assert len(httpx2.get(f"{url}/shared/chat").json()) == 2
    refused(httpx2.get(f"{url}/shared/chat", headers={"Authorization": "rubbish"}), 401)
    assert httpx2.get(f"{url}/shared/chat", headers={"Authorization": deployment.user().token}).status_code == 404


def test_chats_belong_to_their_callers(deployment: Deployment, client: Client) -> None:
    send(client, "mine", "a secret")
    other = deployment.user()
    assert refused(other.http.get("/mine/chat"), 404) == "user mine has no messages"
    assert refused(other.http.get("/mine/system"), 404) == "user mine has no messages"
    assert other.http.post("/mine/clear").json() == {}
    assert len(client.http.get("/mine/chat").json()) == 2


def test_an_image_turn_does_not_break_later_text_turns(deployment: Deployment, client: Client) -> None:
    image = client.http.post("/i/img", json={"content": "What is it?", "url": "https://chat.example/a.png"})
    assert image.json()["content"] == counted(3)
    parts = client.http.get("/i/chat").json()[0]["content"]
    assert parts[1] == {"image_url": {"detail": "low", "url": "https://chat.example/a.png"}, "type": "image_url"}
    use(deployment, client, "demo?vision=0&tokens=2")
    assert send(client, "i")["content"] == counted(2)
    assert refused(client.http.post("/i/img", json={"content": "x"}), 400) == "content not in request"
    assert refused(client.http.post("/i/img", json={"content": "x", "url": ""}), 400) == "url is empty"


@pytest.mark.parametrize("path", ["/system", "/mod", "/a/chat", "/a/system", "/a/img"])
def test_bodies_that_make_no_sense_are_refused(client: Client, path: str) -> None:
    headers = ADMIN if path == "/system" else {}
    assert refused(client.http.post(path, json={"contents": "x"}, headers=headers), 400) == "content not in request"
    refused(client.http.post(path, content=b"{", headers={**headers, "Content-Type": "application/json"}), 400)
    refused(client.http.post(path, json=["content"], headers=headers), 400)
    refused(client.http.post(path, data={"content": "x"}, headers=headers), 415)


def test_a_number_is_taken_as_its_digits(deployment: Deployment, client: Client) -> None:
    use(deployment, client, ECHO)
    assert json.loads(send(client, "n", 42)["content"])[-1]["content"] == "42"


def test_a_judgement_is_passed_on_unchanged(client: Client) -> None:
    judged = client.http.post("/mod", json={"content": "please flagme"}).json()
    assert list(judged) == ["id", "model", "results"]
    assert judged["results"][0]["flagged"] is True
    assert {"categories", "category_scores", "flagged"} <= set(judged["results"][0])
    assert client.http.post("/mod", json={"content": "Hello"}).json()["results"][0]["flagged"] is False


@pytest.mark.parametrize(("fault", "status"), [("fail=400", 502), ("fail=429", 429), ("fail=500", 502)])
def test_an_upstream_error_is_no_crash_page(deployment: Deployment, client: Client, fault: str, status: int) -> None:
    use(deployment, client, f"demo?{fault}&fail_times=9")
    assert "ordered to fail" in refused(client.http.post("/e/chat", json={"content": fault}), status)
    assert client.http.get("/e/chat").json() == []


def test_a_chat_is_cleared_with_its_prompt(client: Client) -> None:
    client.http.post("/c/system", json={"content": "Be kind."})
    send(client, "c")
    assert client.http.post("/c/clear").json() == {}
    assert refused(client.http.get("/c/chat"), 404) == "user c has no messages"
    assert client.http.post("/never/clear").json() == {}


def test_two_turns_at_once_do_not_interleave(client: Client) -> None:
    turns = [threading.Thread(target=send, args=(client, "both", text)) for text in ("one", "two")]
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join(30)
    assert [message["role"] for message in client.http.get("/both/chat").json()] == ["user", "assistant"] * 2


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/a/chat"), ("GET", "/a/img"), ("PUT", "/system"), ("GET", "/mod")])
def test_a_wrong_method_is_404_as_an_unknown_path_is(client: Client, method: str, path: str) -> None:
    answer = client.http.request(method, path)
    assert (answer.status_code, answer.text) == (404, "Not Found")


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_reserved_word_is_refused_as_a_chats_id(client: Client, word: str) -> None:
    assert "reserved" in refused(client.http.post(f"/{word}/clear"), 400)
