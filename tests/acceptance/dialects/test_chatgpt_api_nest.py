"""A client of ChatGPT API powered by NestJS, written from its documentation alone, against two API processes and two workers."""

import json
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from dev.testing.client import PASSWORD, Client, counted
from dev.testing.stack import Stack

LEAVE_AT = 7


class NestClient:
    """Registers, logs in, asks, and reads what comes."""

    def __init__(self, url: str) -> None:
        """Become a new user."""
        self.http = httpx2.Client(base_url=url, timeout=60, verify=False)
        credentials = {"username": f"user-{secrets.token_hex(8)}", "password": PASSWORD}
        assert isinstance(self._post("/auth/register", credentials)["username"], str)
        self.token: str = self._post("/auth/login", credentials)["access_token"]
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    def ask(self, message: str, **more: Any) -> dict[str, Any]:
        """Say something in a session."""
        return self._post("/chat/process", {"message": message, **more})

    def configure(self, **settings: str) -> dict[str, Any]:
        """Choose a model, or give a key."""
        return self._post("/user/config", settings)

    def session(self, session_id: str) -> dict[str, Any]:
        """Look at a session."""
        found: dict[str, Any] = self.http.get(f"/chat/session/{session_id}").json()
        return found

    def read(self, url: str, request_id: str, *, after: int = 0, most: int | None = None) -> list[tuple[int, dict[str, Any]]]:
        """Read a stream as an EventSource does, to its end or to so many events."""
        headers = {"Authorization": f"Bearer {self.token}", **({"Last-Event-ID": str(after)} if after else {})}
        events: list[tuple[int, dict[str, Any]]] = []
        number = 0
        with httpx2.stream("GET", f"{url}/chat/process/{request_id}", headers=headers, timeout=60, verify=False) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                if line.startswith("id: "):
                    number = int(line[4:])
                elif line.startswith("data: "):
                    events.append((number, json.loads(line[6:])))
                    if len(events) == most:
                        break
        return events

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.http.post(path, json=body)
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer


@pytest.fixture
def user(stack: Stack) -> Iterator[NestClient]:
    """A new user of the first API process."""
    made = NestClient(stack.urls[0])
    yield made
    made.http.close()


def test_its_client_works_here(stack: Stack, user: NestClient) -> None:
    # Given a user with a model of their own
    assert user.configure(model="demo?tokens=40&gap_ms=20")["model"] == "demo?tokens=40&gap_ms=20"
    whole = user.ask("whole")
    assert whole["content"] == counted(40)

    # When they ask for a stream, leave it in the middle, and go on at the other process
    asked = user.ask("streamed", stream=True, sessionId=whole["session_id"])
    assert asked["session_id"] == whole["session_id"]
    twice: list[list[tuple[int, dict[str, Any]]]] = []
    reader = threading.Thread(target=lambda: twice.append(user.read(stack.urls[1], asked["request_id"])))
    reader.start()
    begun = user.read(stack.urls[0], asked["request_id"], most=LEAVE_AT)
    rest = user.read(stack.urls[1], asked["request_id"], after=begun[-1][0])
    reader.join(60)

    # Then they have it all once and in order, as have a second reader and a late one
    events = begun + rest
    assert [number for number, _ in events] == list(range(1, len(events) + 1))
    assert "".join(data["delta"] for _, data in events[:-1]) == events[-1][1]["content"] == counted(40)
    assert twice == [events]
    assert user.read(stack.urls[0], asked["request_id"]) == events
    assert len(user.session(whole["session_id"])["messages"]) == 4


def test_a_users_own_key_is_what_the_model_is_asked_with(stack: Stack, user: NestClient) -> None:
    # Given a user who was answered with the operator's key
    assert user.ask("Hello")["finish_reason"] == "stop"

    # When they set a key of their own, which the model refuses
    assert user.configure(openai_key="sk-bad")["openai_key"] not in {"", "sk-bad"}
    [(number, data)] = user.read(stack.urls[1], user.ask("Hello", stream=True)["request_id"])

    # Then the stream says so, until they clear it
    assert (number, set(data)) == (1, {"error"})
    assert user.configure(openai_key="")["openai_key"] == ""
    assert user.ask("Hello")["finish_reason"] == "stop"


def test_a_conversation_begun_elsewhere_goes_on_here_and_back(stack: Stack, user: NestClient) -> None:
    with Client(stack.urls[1], user.token) as native:
        begun = native.finished(native.submit("first")["id"])
        asked = user.ask("second", session_id=begun["conversation_id"])
        native.finished(native.submit("third", conversation_id=asked["session_id"])["id"])
    messages = user.session(begun["conversation_id"])["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == ["first", "second", "third"]


def test_a_stream_is_read_on_after_its_api_process_died(stack: Stack, user: NestClient) -> None:
    # Given a stream that is read in part
    user.configure(model="demo?tokens=60&gap_ms=50")
    request_id = user.ask("streamed", stream=True)["request_id"]
    begun = user.read(stack.urls[0], request_id, most=LEAVE_AT)

    # When the process that took the request is killed, and another takes its place
    stack.webs[0].kill()
    stack.restart_web(0)

    # Then the reader goes on there where they were, and a late one has it all
    events = begun + user.read(stack.urls[0], request_id, after=begun[-1][0])
    assert "".join(data["delta"] for _, data in events[:-1]) == events[-1][1]["content"] == counted(60)
    assert user.read(stack.urls[0], request_id) == events
