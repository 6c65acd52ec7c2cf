"""A client of Chat GPT REST API, written from its documentation alone, against two API processes and two workers."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from dev.testing.client import Client, counted
from dev.testing.stack import Stack

CUT = "demo?tokens=3&first_ms=0&finish=length"
ODD = 'Ünïcode 💬, a \\backslash\\, "quotes" and\nnew lines'


class RestClient:
    """Knows an address and a token, which it sends as it is."""

    def __init__(self, url: str, token: str) -> None:
        """Keep them."""
        self.http = httpx2.Client(base_url=url, timeout=60, verify=False, headers={"Authorization": token})

    def new(self, prompt: str, **more: str) -> dict[str, Any]:
        """Begin a conversation."""
        return self._asked("/conversations/new", prompt, more)

    def ask(self, conversation_id: str, prompt: str, **more: str) -> dict[str, Any]:
        """Go on with one."""
        return self._asked(f"/conversations/{conversation_id}/ask", prompt, more)

    def listed(self, **query: int) -> list[dict[str, Any]]:
        """List conversations."""
        items: list[dict[str, Any]] = self._got("/conversations", query)
        return items

    def tree(self, conversation_id: str) -> dict[str, Any]:
        """Show a conversation."""
        whole: dict[str, Any] = self._got(f"/conversations/{conversation_id}/messages", {})
        return whole

    def delete(self, conversation_id: str) -> None:
        """Delete one, or `all`."""
        assert self.http.delete(f"/conversations/{conversation_id}").status_code == 204

    def _asked(self, path: str, prompt: str, more: dict[str, str]) -> dict[str, Any]:
        response = self.http.post(path, data={"prompt": prompt, **more})
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()["response"]
        return answer

    def _got(self, path: str, query: dict[str, int]) -> Any:
        response = self.http.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
def user(stack: Stack, client: Client) -> Iterator[RestClient]:
    made = RestClient(stack.urls[1], client.token)
    yield made
    made.http.close()


def test_its_client_works_here(user: RestClient) -> None:
    # Given a conversation with a title
    first = user.new("one", title="Numbers")
    conversation_id = first["conversation_id"]
    assert first["author"]["role"] == "assistant"
    assert 'You said: "one".' in first["message"]

    # When it goes on, and once more from its first answer
    second = user.ask(conversation_id, "two")
    branch = user.ask(conversation_id, "another two", parent_id=first["parent_id"])
    assert "shown 3 messages" in second["message"]
    assert "shown 3 messages" in branch["message"]
    assert "shown 5 messages" in user.ask(conversation_id, "three", parent_id=second["parent_id"])["message"]

    # Then the list and the tree tell it
    [listed] = user.listed(limit=5, offset=0)
    assert (listed["id"], listed["title"]) == (conversation_id, "Numbers")
    nodes = user.tree(conversation_id)["mapping"]
    assert nodes[branch["parent_id"]]["parent"] in nodes[first["parent_id"]]["children"]
    assert len(nodes[first["parent_id"]]["children"]) == 2

    # And what is deleted is gone
    user.delete(conversation_id)
    assert user.listed() == []
    assert user.http.get(f"/conversations/{conversation_id}/messages").status_code == 404
    user.new("again")
    user.delete("all")
    assert user.listed() == []


def test_an_answer_that_was_cut_off_is_continued_once(user: RestClient) -> None:
    answer = user.new("count", model=CUT, autocontinue="true")
    assert (answer["message"], answer["finish_details"]) == (counted(3) * 2, "max_tokens")
    assert user.new("count", model=CUT)["message"] == counted(3)


def test_any_text_survives_the_way(user: RestClient) -> None:
    assert f'You said: "{ODD}".' in user.new(ODD)["message"]
