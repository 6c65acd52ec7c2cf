"""A client of Proxy API for ChatGPT, written from its documentation alone, against three API processes and two workers."""

import secrets
from collections.abc import Iterator
from typing import Any, Self

import httpx2
import pytest

from dev.testing.client import Client
from dev.testing.stack import Stack

ADMIN_KEY = "an-admin-key-for-the-proxy-0123456789"
PICTURE = "https://pictures.example/cat.png"
TURNS = 14
"""More than the twenty messages that the original remembers."""


class ProxyClient:
    """Knows an address, and where there is one, a token; the chats' ids are its own."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Need nothing more."""
        headers = {"Authorization": token} if token else {}
        self.http = httpx2.Client(base_url=url, timeout=60, verify=False, headers=headers)

    def __enter__(self) -> Self:
        """Stay for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self.http.close()

    def chat(self, chat_id: str, content: str) -> dict[str, Any]:
        """Say something."""
        return self._post(f"/{chat_id}/chat", content=content)

    def image(self, chat_id: str, content: str, url: str) -> dict[str, Any]:
        """Show an image."""
        return self._post(f"/{chat_id}/img", content=content, url=url)

    def set_system(self, content: str, chat_id: str | None = None) -> None:
        """Set a prompt: a chat's, or the global one."""
        assert self._post(f"/{chat_id}/system" if chat_id else "/system", content=content) == {}

    def system(self, chat_id: str | None = None) -> str | None:
        """Return a prompt."""
        response = self.http.get(f"/{chat_id}/system" if chat_id else "/system")
        assert response.status_code == 200, response.text
        content: str | None = response.json()["content"]
        return content

    def history(self, chat_id: str) -> list[dict[str, Any]]:
        """Return the messages of a chat."""
        response = self.http.get(f"/{chat_id}/chat")
        assert response.status_code == 200, response.text
        messages: list[dict[str, Any]] = response.json()
        return messages

    def judge(self, content: str) -> bool:
        """Have a text judged."""
        flagged: bool = self._post("/mod", content=content)["results"][0]["flagged"]
        return flagged

    def clear(self, chat_id: str) -> None:
        """Forget a chat."""
        assert self.http.post(f"/{chat_id}/clear").json() == {}

    def _post(self, path: str, **body: str) -> dict[str, Any]:
        response = self.http.post(path, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


@pytest.fixture(scope="module")
def open_url(stack: Stack) -> str:
    """The address of an API process whose operator lets everybody in, and has an admin key."""
    stack.start_web(ADMIN_KEY=ADMIN_KEY, ANONYMOUS_ACCESS="on")
    return stack.urls[-1]


@pytest.fixture
def chat_id() -> str:
    return f"chat-{secrets.token_hex(8)}"


@pytest.fixture
def user(stack: Stack, client: Client) -> Iterator[ProxyClient]:
    with ProxyClient(stack.urls[1], client.token) as made:
        yield made


def test_its_client_works_here(user: ProxyClient, chat_id: str) -> None:
    # Given nothing at all, then the first message is answered
    assert user.http.get("/").text == "Hello, World!"
    answer = user.chat(chat_id, "Good morning")
    assert set(answer) == {"role", "content", "tokens"}
    assert (answer["role"], answer["tokens"]["total_tokens"] > 0) == ("assistant", True)
    assert 'You said: "Good morning".' in answer["content"]

    # When an image is shown, and the chat goes on with text
    assert "1 image" in user.image(chat_id, "What is this?", PICTURE)["content"]
    assert "shown 5 messages" in user.chat(chat_id, "And now?")["content"]

    # Then all is in its history, until it is cleared with its prompt
    user.set_system("Be kind.", chat_id)
    assert user.system(chat_id) == "Be kind."
    messages = user.history(chat_id)
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 3]
    assert messages[3]["content"][1]["image_url"]["url"] == PICTURE
    user.clear(chat_id)
    assert user.http.get(f"/{chat_id}/chat").json() == {"error": f"user {chat_id} has no messages"}
    assert (user.judge("Hello"), user.judge("flagme")) == (False, True)


def test_who_sends_no_token_shares_the_anonymous_users_chats_and_the_operator_sets_the_prompt(
    open_url: str, user: ProxyClient, chat_id: str
) -> None:
    with ProxyClient(open_url, ADMIN_KEY) as operator, ProxyClient(open_url) as anonymous, ProxyClient(open_url) as another:
        operator.set_system("Speak up.")
        assert "shown 2 messages" in anonymous.chat(chat_id, "Hello")["content"]
        assert another.system(chat_id) == anonymous.system() == "Speak up."
        assert user.http.get(f"/{chat_id}/chat").status_code == 404
        assert anonymous.http.post("/system", json={"content": "Mine."}).status_code == 403
        operator.set_system("")
        assert operator.system() is None


def test_a_chat_remembers_more_than_twenty_messages(user: ProxyClient, chat_id: str) -> None:
    for turn in range(TURNS):
        shown = user.chat(chat_id, f"turn {turn}")["content"]
    assert f"shown {2 * TURNS - 1} messages" in shown
    assert len(user.history(chat_id)) == 2 * TURNS
