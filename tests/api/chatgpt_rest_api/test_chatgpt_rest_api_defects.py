"""The defects of Chat GPT REST API, none of which this server has: one test each, named after it.

Those that tests/api/test_chatgpt_rest_api.py already names are not repeated.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from dev.testing.client import Client
from tests.api.conftest import ON_POSTGRESQL, ON_SQLITE
from tests.api.deployment import Deployment, deployed

QUICK = "demo?tokens=3&first_ms=0&gap_ms=0"


def new(client: Client, prompt: str = "Hello", **body: Any) -> dict[str, Any]:
    response = client.http.post("/conversations/new", data={"prompt": prompt, "model": QUICK, **body})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()["response"]
    return answer


@ON_POSTGRESQL
@pytest.mark.parametrize("text", ["Ünïcode 💬", "back\\slash \\u0041 \\n", '"quotes" & <tags>', "two\nlines\ttab", "one\u2028line"])
def test_no_text_is_broken_on_its_way(client: Client, text: str) -> None:
    answer = new(client, text, model="demo?first_ms=0&gap_ms=0")
    assert f'You said: "{text.strip()}"' in answer["message"]
    tree = client.http.get(f"/conversations/{answer['conversation_id']}/messages").json()
    assert text in [node["message"]["content"]["parts"][0] for node in tree["mapping"].values() if node["message"]]


@ON_POSTGRESQL
def test_a_title_does_not_cost_the_answer(client: Client) -> None:
    answer = new(client, title="T" * 5_000)
    assert answer["message"]
    assert client.http.get("/conversations").json()[0]["title"] == "T" * 5_000


@ON_POSTGRESQL
def test_deleting_deletes_and_does_not_only_hide(deployment: Deployment, client: Client) -> None:
    answer = new(client)
    assert client.http.delete(f"/conversations/{answer['conversation_id']}").status_code == 204
    assert client.http.get("/jobs").json()["data"] == []
    assert client.http.delete(f"/conversations/{answer['conversation_id']}").status_code == 404
    assert deployment.stack.webs[0].is_running()


@ON_SQLITE
def test_an_empty_prompt_is_answered(client: Client) -> None:
    assert new(client, "")["message"]


@ON_SQLITE
@pytest.mark.parametrize("token", ["", "x", "Bearer", "Bearer x", "Bearer Bearer x", "ey.ey.ey", "ü"])
def test_a_bad_token_is_no_debug_page(anonymous: httpx2.Client, token: str) -> None:
    answer = anonymous.get("/conversations", headers={b"Authorization": token.encode("latin-1")})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/json")


@ON_SQLITE
@pytest.mark.parametrize("fault", ["drop_at=2", "bad_at=2", "fail=503"])
def test_a_broken_upstream_is_json_and_no_debug_page(client: Client, fault: str) -> None:
    body = {"prompt": secrets.token_hex(8), "model": f"demo?tokens=5&{fault}&fail_times=99&gap_ms=0"}
    answer = client.http.post("/conversations/new", data=body)
    assert (answer.status_code, list(answer.json()["error"])) == (502, ["detail"])
    assert "Traceback" not in answer.text


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("rest-small")
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", {"SUBMIT_LIMIT": "1 per minute", "MODERATE": "on"}) as started:
        yield started


def test_too_many_requests_are_429_with_a_time_to_come_back(small: Deployment) -> None:
    client = small.user()
    new(client)
    answer = client.http.post("/conversations/new", data={"prompt": "again"})
    assert (answer.status_code, list(answer.json()["error"])) == (429, ["detail"])
    assert int(answer.headers["retry-after"]) >= 1


def test_what_moderation_flags_is_400_and_says_so(small: Deployment) -> None:
    answer = small.user().http.post("/conversations/new", data={"prompt": "please flagme"})
    assert answer.status_code == 400
    assert "flagged" in str(answer.json()["error"])
