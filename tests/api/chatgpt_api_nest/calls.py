"""Calls as a client of ChatGPT API powered by NestJS makes them."""

from typing import Any

import orjson

from dev.testing.client import Client


def post(client: Client, path: str, **body: Any) -> dict[str, Any]:
    """Send a JSON object that must be accepted, and return the answer."""
    response = client.http.post(path, json=body)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def ask(client: Client, message: Any = "Hello", **body: Any) -> dict[str, Any]:
    """Send a message."""
    return post(client, "/chat/process", message=message, **body)


def use(client: Client, model: str) -> None:
    """Choose the user's model."""
    assert post(client, "/user/config", model=model)["model"] == model


def stream_events(client: Client, request_id: str) -> list[dict[str, Any]]:
    """Read a stream to its end, and return its events."""
    lines = client.http.get(f"/chat/process/{request_id}").text.splitlines()
    return [orjson.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def messages(client: Client, session_id: str) -> list[dict[str, Any]]:
    """Return the messages of a session."""
    found: list[dict[str, Any]] = client.http.get(f"/chat/session/{session_id}").json()["messages"]
    return found
