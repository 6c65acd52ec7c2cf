"""The wire of Chat GPT REST API: every route, status and refusal, and the defects that are not copied."""

import secrets
from typing import Any

import httpx2
import orjson
import pytest

from dev.testing.client import Client, counted
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment

pytestmark = ON_SQLITE

QUICK = "demo?tokens=3&first_ms=0&gap_ms=0"
ECHO = "demo?echo=1&first_ms=0&gap_ms=0"
KEYS = ["author", "message", "conversation_id", "parent_id", "model", "finish_details", "end_turn", "recipient", "citations"]


def new(client: Client, prompt: str = "Hello", **body: Any) -> dict[str, Any]:
    response = client.http.post("/conversations/new", data={"prompt": prompt, "model": QUICK, **body})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()["response"]
    return answer


def ask(client: Client, conversation: str, prompt: str, **body: Any) -> dict[str, Any]:
    response = client.http.post(f"/conversations/{conversation}/ask", data={"prompt": prompt, "model": QUICK, **body})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()["response"]
    return answer


def users(echoed: str) -> list[str]:
    return [message["content"] for message in orjson.loads(echoed) if message["role"] == "user"]


def refused(response: httpx2.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def test_an_answer_has_the_documented_shape(client: Client) -> None:
    response = client.http.post("/conversations/new", data={"prompt": "Hello", "model": QUICK})
    answer = response.json()["response"]
    assert list(answer) == KEYS
    assert answer["author"] == {"role": "assistant", "name": None, "metadata": {}}
    assert (answer["message"], answer["model"], answer["recipient"], answer["citations"]) == (counted(3), QUICK, "all", [])
    assert (answer["finish_details"], answer["end_turn"]) == ("stop", True)


def test_json_is_written_as_django_does(client: Client) -> None:
    response = client.http.post("/conversations/new", json={"prompt": "Ünï", "model": ECHO})
    assert response.text.startswith('{"response": {"author": {"role": "assistant", "name": null, ')
    assert response.text.isascii()
    assert "Ünï" in response.json()["response"]["message"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("how", ["data", "json", "files"])
def test_a_json_body_is_read_as_well_as_forms(client: Client, how: str) -> None:
    body: dict[str, Any] = {"prompt": "Hello", "model": QUICK}
    sent: Any = {name: (None, value) for name, value in body.items()} if how == "files" else body
    parts: dict[str, Any] = {how: sent}
    response = client.http.post("/conversations/new", **parts)
    assert response.status_code == 201
    assert response.json()["response"]["message"] == counted(3)


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer "])
def test_a_raw_token_and_bearer_are_the_same(client: Client, prefix: str) -> None:
    listed = client.http.get("/conversations", headers={"Authorization": prefix + client.token})
    assert (listed.status_code, listed.json()) == (200, [])


@pytest.mark.parametrize("path", ["/conversations", "/conversations/x/messages", "/conversations/no/such", "/conversations/new"])
def test_without_a_token_nothing_else_is_told(anonymous: httpx2.Client, path: str) -> None:
    assert refused(anonymous.get(path), 401) == "access_token is required"


def test_a_bad_token_is_401_and_not_500(anonymous: httpx2.Client) -> None:
    assert refused(anonymous.get("/conversations", headers={"Authorization": "rubbish"}), 401)["detail"]


@pytest.mark.parametrize("body", [{}, {"model": QUICK}])
def test_a_prompt_is_required(client: Client, body: dict[str, str]) -> None:
    assert refused(client.http.post("/conversations/new", data=body), 400) == "prompt is required"
    assert refused(client.http.post("/conversations/new", json=body), 400) == "prompt is required"


@pytest.mark.parametrize(("body", "word"), [({"prompt": ["x"]}, "prompt"), ({"prompt": "x", "model": {}}, "model"), ([], "body")])
def test_what_makes_no_sense_is_refused_by_name(client: Client, body: Any, word: str) -> None:
    assert word in refused(client.http.post("/conversations/new", json=body), 400)


def test_a_model_whose_name_no_column_holds_is_refused(client: Client) -> None:
    response = client.http.post("/conversations/new", data={"prompt": "Hello", "model": "m" * 300})
    assert "model" in refused(response, 400)


def test_a_long_prompt_may_come_in_a_form_of_several_parts(client: Client) -> None:
    # It is longer than a message may be: that is the cause of the refusal, and not the form
    response = client.http.post("/conversations/new", files={"prompt": (None, "x" * 600_000)})
    assert "message" in refused(response, 400)


@pytest.mark.parametrize("query", ["limit=ten", "limit=0", "limit=101", "offset=-1", "offset=x"])
def test_a_wrong_limit_is_400_and_no_debug_page(client: Client, query: str) -> None:
    assert query.partition("=")[0] in refused(client.http.get(f"/conversations?{query}"), 400)


def test_conversations_are_listed_last_changed_first(client: Client) -> None:
    first, second = new(client, title="The first"), new(client)
    ask(client, first["conversation_id"], "again")
    listed = client.http.get("/conversations").json()
    assert [item["id"] for item in listed] == [first["conversation_id"], second["conversation_id"]]
    assert list(listed[0]) == ["id", "title", "create_time", "update_time", "mapping", "current_node"]
    assert [item["title"] for item in listed] == ["The first", "New chat"]
    assert [item["id"] for item in client.http.get("/conversations?limit=1&offset=1").json()] == [second["conversation_id"]]


def test_a_turn_follows_the_last_answer(client: Client) -> None:
    conversation_id = new(client, "one")["conversation_id"]
    assert users(ask(client, conversation_id, "two", model=ECHO)["message"]) == ["one", "two"]


def test_two_asks_of_one_parent_are_two_branches(client: Client) -> None:
    first = new(client, "one")
    conversation_id, parent = first["conversation_id"], first["parent_id"]
    left = ask(client, conversation_id, "left", parent_id=parent)
    right = ask(client, conversation_id, "right", parent_id=parent, model=ECHO)
    assert users(right["message"]) == ["one", "right"]
    assert users(ask(client, conversation_id, "more left", parent_id=left["parent_id"], model=ECHO)["message"]) == [
        "one",
        "left",
        "more left",
    ]
    tree = client.http.get(f"/conversations/{conversation_id}/messages").json()
    assert len(tree["mapping"][parent]["children"]) == 2


def test_a_parent_of_another_conversation_is_unknown(deployment: Deployment, client: Client) -> None:
    one, other = new(client), new(client)
    foreign = new(deployment.user())
    for parent in (other["parent_id"], foreign["parent_id"], "nothing"):
        body = {"prompt": "Hello", "parent_id": parent}
        assert refused(client.http.post(f"/conversations/{one['conversation_id']}/ask", data=body), 404)["detail"]


def test_the_whole_tree_is_told(client: Client) -> None:
    answer = new(client, "one")
    tree = client.http.get(f"/conversations/{answer['conversation_id']}/messages").json()
    assert list(tree) == ["title", "create_time", "update_time", "mapping", "moderation_results", "current_node"]
    assert tree["current_node"] == answer["parent_id"]
    (root,) = [node for node in tree["mapping"].values() if node["parent"] is None]
    assert root["message"] is None
    (question,) = root["children"]
    assert tree["mapping"][question]["children"] == [answer["parent_id"]]
    assert tree["mapping"][question]["message"]["content"] == {"content_type": "text", "parts": ["one"]}
    assert isinstance(tree["create_time"], float)


def test_the_readmes_array_of_answers_can_be_had(client: Client) -> None:
    first = new(client)
    second = ask(client, first["conversation_id"], "two")
    assert client.http.get(f"/conversations/{first['conversation_id']}/messages?as=answers").json() == [first, second]


@pytest.mark.parametrize("yes", ["true", "True", "TRUE"])
def test_autocontinue_works(deployment: Deployment, client: Client, yes: str) -> None:
    prompt = f"count {secrets.token_hex(8)}"
    answer = new(client, prompt, model="demo?tokens=3&first_ms=0&finish=length", autocontinue=yes)
    assert answer["message"] == counted(3) * 2
    assert answer["finish_details"] == "max_tokens"
    tree = client.http.get(f"/conversations/{answer['conversation_id']}/messages").json()
    assert (tree["current_node"], len(tree["mapping"])) == (answer["parent_id"], 5)


def test_without_autocontinue_a_cut_answer_is_told_as_it_is(client: Client) -> None:
    answer = new(client, model="demo?tokens=3&first_ms=0&finish=length", autocontinue="no")
    assert (answer["message"], answer["finish_details"], answer["end_turn"]) == (counted(3), "max_tokens", False)


@pytest.mark.parametrize(("fault", "status"), [("fail=400", 502), ("fail=401", 502), ("fail=429&retry_after=3600", 429)])
def test_a_providers_error_is_told(client: Client, fault: str, status: int) -> None:
    body = {"prompt": secrets.token_hex(8), "model": f"demo?{fault}&fail_times=9"}
    assert "ordered to fail" in refused(client.http.post("/conversations/new", data=body), status)["detail"]


def test_the_originals_default_model_is_ours(client: Client) -> None:
    assert new(client, model="text-davinci-002-render-sha")["model"] == "demo"


def test_unknown_and_foreign_conversations_answer_alike(deployment: Deployment, client: Client) -> None:
    foreign = new(deployment.user())["conversation_id"]
    for name in ("nothing", foreign):
        path = f"/conversations/{name}"
        answers = [
            client.http.post(f"{path}/ask", data={"prompt": "x"}),
            client.http.get(f"{path}/messages"),
            client.http.delete(path),
        ]
        assert [refused(answer, 404) for answer in answers] == [{"detail": f"Can't load conversation {name}"}] * 3


def test_one_and_all_are_deleted_and_nobody_elses(deployment: Deployment, client: Client) -> None:
    other = deployment.user()
    foreign = new(other)["conversation_id"]
    first, _, _ = [new(client)["conversation_id"] for _ in range(3)]
    gone = client.http.delete(f"/conversations/{first}")
    assert (gone.status_code, gone.text) == (204, "")
    assert len(client.http.get("/conversations").json()) == 2
    assert client.http.delete("/conversations/all").status_code == 204
    assert client.http.get("/conversations").json() == []
    assert [item["id"] for item in other.http.get("/conversations").json()] == [foreign]


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", "/conversations/x", "DELETE"), ("DELETE", "/conversations/new", "POST")]
)
def test_a_wrong_method_is_405_and_empty(client: Client, method: str, path: str, allowed: str) -> None:
    answer = client.http.request(method, path)
    assert (answer.status_code, answer.text) == (405, "")
    assert allowed in answer.headers["allow"]


def test_a_path_that_is_not_there_is_404_in_json(client: Client) -> None:
    assert refused(client.http.get("/conversations/x/y/z"), 404)["detail"]
