"""One conversation, every door: what was said through one is seen through the others."""

from typing import Any

import httpx2
import orjson

from tests.client import Client

ECHO = "demo?echo=1&first_ms=0&gap_ms=0"
"""A model that answers with the messages that it was shown."""


def texts(echoed: str) -> list[str]:
    """What users said among the messages that the model was shown."""
    return [message["content"] for message in orjson.loads(echoed) if message["role"] == "user"]


def answered(response: httpx2.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json()


def test_a_conversation_goes_on_through_every_door(client: Client) -> None:
    http = client.http
    answered(http.post("/user/config", json={"model": ECHO}), 201)

    # Given a conversation that begins at our own door
    job = client.submit("one")
    here = job["conversation_id"]
    assert texts(client.finished(job["id"])["text"]) == ["one"]

    # When it goes on through the others, then each model is shown all that was said before
    nest = answered(http.post("/chat/process", json={"session_id": here, "message": "two"}), 201)
    assert (nest["session_id"], texts(nest["content"])) == (here, ["one", "two"])
    proxy = answered(http.post(f"/{here}/chat", json={"content": "three"}), 200)
    assert texts(proxy["content"]) == ["one", "two", "three"]
    rest = answered(http.post(f"/conversations/{here}/ask", data={"prompt": "four"}), 201)["response"]
    assert (rest["conversation_id"], texts(rest["message"])) == (here, ["one", "two", "three", "four"])
    last = client.finished(client.submit("five", conversation_id=here)["id"])
    assert texts(last["text"]) == ["one", "two", "three", "four", "five"]

    # And each door tells all of it
    said = ["one", "two", "three", "four", "five"]
    session = answered(http.get(f"/chat/session/{here}"), 200)
    assert [message["content"] for message in session["messages"] if message["role"] == "user"] == said
    chat = answered(http.get(f"/{here}/chat"), 200)
    assert [message["content"] for message in chat if message["role"] == "user"] == said
    nodes = answered(http.get(f"/conversations/{here}/messages"), 200)["mapping"].values()
    asked = [node["message"] for node in nodes if node["message"] and node["message"]["author"]["role"] == "user"]
    assert sorted(message["content"]["parts"][0] for message in asked) == sorted(said)
    assert here in [session["id"] for session in answered(http.get("/chat/sessions"), 200)]
    assert here in [listed["id"] for listed in answered(http.get("/conversations"), 200)]


def test_what_begins_at_another_door_goes_on_at_ours(client: Client) -> None:
    http = client.http
    answered(http.post("/user/config", json={"model": ECHO}), 201)
    answered(http.post("/garden/chat", json={"content": "one"}), 200)
    session = answered(http.post("/chat/process", json={"message": "one"}), 201)["session_id"]
    begun = answered(http.post("/conversations/new", json={"prompt": "one"}), 201)["response"]["conversation_id"]

    for name in ("garden", session, begun):
        job = client.submit("two", conversation_id=name)
        assert texts(client.finished(job["id"])["text"]) == ["one", "two"]


def test_what_is_deleted_at_one_door_is_gone_at_all(client: Client) -> None:
    http = client.http
    job = client.submit("one", model="demo?tokens=1000&gap_ms=50")
    here = job["conversation_id"]
    assert http.delete(f"/conversations/{here}").status_code == 204
    assert http.get(f"/{here}/chat").status_code == 404
    assert http.get(f"/jobs/{job['id']}").status_code == 404
    refused = http.post("/jobs", json={"message": "two", "conversation_id": here})
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "conversation_id")
