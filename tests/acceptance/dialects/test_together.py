"""One conversation in every dialect: what is sent in one is seen in the others."""

from typing import Any

import httpx2
import orjson
import pytest

from dev.testing.agent import Agent
from dev.testing.client import Client
from dev.testing.stack import Stack, wait_until

ECHO = "demo?echo=1&first_ms=0&gap_ms=0"
"""A model that answers with the messages that it was shown."""


@pytest.fixture(scope="module")
def agents_url(stack: Stack) -> str:
    """The address of an API process that every agent may connect to."""
    stack.start_web(AGENT_REGISTRATION="open")
    return stack.urls[-1]


def texts(echoed: str) -> list[str]:
    """What users said among the messages that the model was shown."""
    return [message["content"] for message in orjson.loads(echoed) if message["role"] == "user"]


def answered(response: httpx2.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json()


def test_a_conversation_goes_on_in_every_dialect(client: Client) -> None:
    http = client.http
    answered(http.post("/user/config", json={"model": ECHO}), 201)

    # Given a conversation that begins in our own API
    job = client.submit("one")
    conversation_id = job["conversation_id"]
    assert texts(client.finished(job["id"])["text"]) == ["one"]

    # When it goes on through the others, then each model is shown all that was said before
    nest = answered(http.post("/chat/process", json={"session_id": conversation_id, "message": "two"}), 201)
    assert (nest["session_id"], texts(nest["content"])) == (conversation_id, ["one", "two"])
    proxy = answered(http.post(f"/{conversation_id}/chat", json={"content": "three"}), 200)
    assert texts(proxy["content"]) == ["one", "two", "three"]
    rest = answered(http.post(f"/conversations/{conversation_id}/ask", data={"prompt": "four"}), 201)["response"]
    assert (rest["conversation_id"], texts(rest["message"])) == (conversation_id, ["one", "two", "three", "four"])
    last = client.finished(client.submit("five", conversation_id=conversation_id)["id"])
    assert texts(last["text"]) == ["one", "two", "three", "four", "five"]

    # And each dialect shows all of it
    sent = ["one", "two", "three", "four", "five"]
    session = answered(http.get(f"/chat/session/{conversation_id}"), 200)
    assert [message["content"] for message in session["messages"] if message["role"] == "user"] == sent
    chat = answered(http.get(f"/{conversation_id}/chat"), 200)
    assert [message["content"] for message in chat if message["role"] == "user"] == sent
    nodes = answered(http.get(f"/conversations/{conversation_id}/messages"), 200)["mapping"].values()
    asked = [node["message"] for node in nodes if node["message"] and node["message"]["author"]["role"] == "user"]
    assert sorted(message["content"]["parts"][0] for message in asked) == sorted(sent)
    assert conversation_id in [session["id"] for session in answered(http.get("/chat/sessions"), 200)]
    assert conversation_id in [listed["id"] for listed in answered(http.get("/conversations"), 200)]


def test_a_conversation_goes_on_at_an_agent_and_back(client: Client, agents_url: str) -> None:
    http = client.http
    answered(http.post("/user/config", json={"model": ECHO}), 201)
    with Agent(agents_url) as agent:
        wait_until(lambda: http.get("/api/connections").json()["connections"], "the agent to be there")

        # Given a conversation that begins with a model, in two dialects
        conversation_id = client.submit("one")["conversation_id"]
        answered(http.post("/chat/process", json={"session_id": conversation_id, "message": "two"}), 201)

        # When an agent is asked next, it is told all that was said; what it says then is told to the model in its turn
        first = answered(http.post("/api/ask", json={"content": "three", "conversation_id": conversation_id}), 200)
        content = agent.requests[0]["content"]
        assert [line for line in content.split("\n\n") if line.startswith("User: ")] == ["User: one", "User: two", "User: three"]
        proxy = answered(http.post(f"/{conversation_id}/chat", json={"content": "four"}), 200)
        assert texts(proxy["content"]) == ["one", "two", "three", "four"]
        assert first["content"] in [message["content"] for message in orjson.loads(proxy["content"])]

        # And by the name that the agent gave, each dialect knows the conversation
        name = first["conversation_id"]
        rest = answered(http.post(f"/conversations/{name}/ask", data={"prompt": "five"}), 201)["response"]
        assert (rest["conversation_id"], texts(rest["message"])) == (name, ["one", "two", "three", "four", "five"])
        last = client.finished(client.submit("six", conversation_id=name)["id"])
        sent = ["one", "two", "three", "four", "five", "six"]
        assert texts(last["text"]) == sent
        back = answered(http.post("/api/ask", json={"content": "seven", "conversation_id": name}), 200)
        assert back["content"].endswith("User: seven") or back["content"].endswith("received seven")
        chat = answered(http.get(f"/{conversation_id}/chat"), 200)
        assert [message["content"] for message in chat if message["role"] == "user"] == [*sent, "seven"]


def test_a_conversation_that_begins_at_an_agent_goes_on_in_every_dialect(client: Client, agents_url: str) -> None:
    http = client.http
    answered(http.post("/user/config", json={"model": ECHO}), 201)
    with Agent(agents_url) as agent:
        wait_until(lambda: http.get("/api/connections").json()["connections"], "the agent to be there")
        name = answered(http.post("/api/ask", json={"content": "one"}), 200)["conversation_id"]
        assert agent.requests[0]["content"] == "one"

    # Though the agent is gone
    nest = answered(http.post("/chat/process", json={"session_id": name, "message": "two"}), 201)
    assert texts(nest["content"]) == ["one", "two"]
    assert texts(answered(http.post(f"/{name}/chat", json={"content": "three"}), 200)["content"]) == ["one", "two", "three"]
    last = client.finished(client.submit("four", conversation_id=name)["id"])
    assert texts(last["text"]) == ["one", "two", "three", "four"]


def test_what_begins_in_a_dialect_goes_on_in_our_api(client: Client) -> None:
    http = client.http
    answered(http.post("/user/config", json={"model": ECHO}), 201)
    answered(http.post("/garden/chat", json={"content": "one"}), 200)
    session = answered(http.post("/chat/process", json={"message": "one"}), 201)["session_id"]
    begun = answered(http.post("/conversations/new", json={"prompt": "one"}), 201)["response"]["conversation_id"]

    for name in ("garden", session, begun):
        job = client.submit("two", conversation_id=name)
        assert texts(client.finished(job["id"])["text"]) == ["one", "two"]


def test_what_is_deleted_in_one_dialect_is_gone_in_all(client: Client) -> None:
    http = client.http
    job = client.submit("one", model="demo?tokens=1000&gap_ms=50")
    conversation_id = job["conversation_id"]
    assert http.delete(f"/conversations/{conversation_id}").status_code == 204
    assert http.get(f"/{conversation_id}/chat").status_code == 404
    assert http.get(f"/jobs/{job['id']}").status_code == 404
    refused = http.post("/jobs", json={"message": "two", "conversation_id": conversation_id})
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "conversation_id")
