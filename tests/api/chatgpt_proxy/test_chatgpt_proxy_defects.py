"""The defects of Proxy API for ChatGPT, none of which this server has: one test each, named after it.

Those that tests/api/test_chatgpt_proxy.py already names are not repeated.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from dev.paths import ROOT
from dev.servers.postgres_server import PostgresServer
from dev.testing.client import Client
from tests.api.deployment import Deployment, deployed

ADMIN_KEY = "an-admin-key-for-tests-0123456789"
ECHO = "demo?echo=1&first_ms=0&gap_ms=0"
TURNS = 11
MAX_CHARS = 10_000
AT_ONCE = 4


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("proxy-defects")
    settings = {"ADMIN_KEY": ADMIN_KEY, "DEFAULT_MODEL": ECHO, "MAX_TRIES": "1", "MAX_MESSAGE_CHARS": str(MAX_CHARS)}
    with deployed(folder, postgres_server.create_database(), settings) as started:
        yield started


def send(client: Client, chat: str, content: str = "Hello") -> list[dict[str, Any]]:
    """Say something, and tell what the model was shown."""
    response = client.http.post(f"/{chat}/chat", json={"content": content})
    assert response.status_code == 200, response.text
    shown: list[dict[str, Any]] = json.loads(response.json()["content"])
    return shown


def set_global(client: Client, content: str) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    assert client.http.post("/system", json={"content": content}, headers=headers).json() == {}


def test_a_first_message_without_a_global_prompt_does_not_poison_the_chat(client: Client) -> None:
    # Given a chat that began when there was no global prompt
    assert send(client, "early") == [{"role": "user", "content": "Hello"}]

    # When one is set, then the chat goes on
    set_global(client, "Be kind.")
    assert [message["content"] for message in send(client, "early", "And now?") if message["role"] == "user"] == [
        "Hello",
        "And now?",
    ]
    set_global(client, "")


def test_the_global_prompt_can_be_cleared(client: Client) -> None:
    set_global(client, "Be kind.")
    assert send(client, "with")[0]["role"] == "system"
    set_global(client, "")
    assert client.http.get("/system").json() == {"content": None}
    assert send(client, "without")[0]["role"] == "user"


def test_a_prompt_is_no_longer_than_a_message_may_be(client: Client) -> None:
    long = "x" * (MAX_CHARS + 1)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    for refused in (
        client.http.post("/p/system", json={"content": long}),
        client.http.post("/system", json={"content": long}, headers=headers),
    ):
        assert refused.status_code == 400
        assert "content" in refused.text
    assert "ratelimit-remaining" in client.http.post("/p/system", json={"content": "x"}).headers


def test_a_chat_begins_with_its_first_message_and_not_with_one_that_was_refused(client: Client) -> None:
    set_global(client, "Be kind.")
    assert client.http.post("/refused/chat", json={"content": "x" * (MAX_CHARS + 1)}).status_code == 400
    assert client.http.get("/refused/chat").status_code == 404
    set_global(client, "Be brief.")
    assert send(client, "refused")[0] == {"role": "system", "content": "Be brief."}
    set_global(client, "")
    assert send(client, "refused", "And now?")[0] == {"role": "system", "content": "Be brief."}


def test_the_context_is_not_cut_at_twenty_messages(client: Client) -> None:
    client.http.post("/user/config", json={"model": "demo?first_ms=0&gap_ms=0"})
    client.http.post("/long/system", json={"content": "Be kind."})
    for turn in range(TURNS):
        answer = client.http.post("/long/chat", json={"content": f"turn {turn}"}).json()
    assert f"I was shown {2 * TURNS} messages." in answer["content"]


def test_turns_at_once_do_not_interleave_on_a_real_database(client: Client) -> None:
    threads = [threading.Thread(target=send, args=(client, "many", f"turn {number}")) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    kept = client.http.get("/many/chat").json()
    assert [message["role"] for message in kept] == ["user", "assistant"] * AT_ONCE
    for position, message in enumerate(kept):
        if message["role"] == "assistant":  # each was shown all that stood before it, and nothing else
            assert len(json.loads(message["content"])) == position


def test_a_failed_turn_is_not_stored(deployment: Deployment, client: Client) -> None:
    send(client, "f", "first")
    client.http.post("/user/config", json={"model": "demo?fail=500&fail_times=9"})
    failed = client.http.post("/f/chat", json={"content": "fails"})
    assert (failed.status_code, failed.headers["content-type"]) == (502, "application/json")
    client.http.post("/user/config", json={"model": ECHO})
    assert "fails" not in json.dumps(send(client, "f", "second"))
    assert deployment.stack.webs[0].is_running()


@pytest.mark.parametrize("path", ["/robots.txt", "/favicon.ico", "/a/b/chat", "/nothing"])
def test_what_is_not_there_is_404_and_no_crash_page(client: Client, path: str) -> None:
    answer = client.http.get(path)
    assert answer.status_code == 404
    assert "x-google-status" not in answer.headers


@pytest.mark.parametrize("body", ["[]", '"text"', "null", "{", "{}"])
def test_an_odd_body_is_400_on_every_route(client: Client, body: str) -> None:
    for path in ("/a/chat", "/a/img", "/a/system", "/mod"):
        answer = client.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_nobody_without_a_token_reads_or_writes_anything(deployment: Deployment) -> None:
    for method, path in (("GET", "/a/chat"), ("POST", "/a/chat"), ("GET", "/system"), ("POST", "/system"), ("POST", "/mod")):
        assert httpx2.request(method, deployment.url + path, json={"content": "x"}).status_code == 401


def test_blank_settings_do_not_crash_at_the_start(deployment: Deployment) -> None:
    """Every setting may be there and empty, as in a copied `.env.example`: then it has its default."""
    names = [line.partition("=")[0].lstrip("# ") for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line]
    blank = {name: "" for name in names if name.isupper() and name not in {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"}}
    program = "from shared.config import load; load()"
    environment = {**deployment.stack.environment, **blank}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
