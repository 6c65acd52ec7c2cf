"""A client of ChatGPT-API-server, written from the description of its wire alone, and a site that it and agents meet at."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2

from dev.testing.stack import wait_until
from tests.agent import Agent
from tests.api.deployment import Deployment

PING_SECONDS = 1.5
ANSWER_SECONDS = 3.0
WAIT_SECONDS = 4.0
"""How long agents are waited for: not so long that a test of silence takes for ever, and longer than a machine stands still."""
SLACK_SECONDS = 5.0
ADMIN_KEY = "the-key-of-the-admin-of-all-tests-0123456789"
JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
ANSWER_FIELDS = ["id", "response_id", "conversation_id", "content", "error"]


@dataclass
class Agency:
    """A site, a user who asks there, and the agents that a test connects; they leave when it is over."""

    deployment: Deployment
    user: httpx2.Client
    ends: ExitStack

    @property
    def url(self) -> str:
        """The API's address."""
        return self.deployment.url

    def agent(self, **how: Any) -> Agent:
        """Connect an agent, as `Agent` is told, and wait until it can be asked."""
        agent = self.ends.enter_context(Agent(**{"url": self.url, "token": ADMIN_KEY, **how}))
        wait_until(lambda: agent.is_over or agent.id in self.ids(), "the agent to be there")
        return agent

    def ask(self, content: str = "Hello", **ids: str) -> httpx2.Response:
        """Ask."""
        return self.user.post("/api/ask", json={"content": content, **ids})

    def told(self, content: str = "Hello", **ids: str) -> dict[str, Any]:
        """Ask, and be answered."""
        response = self.ask(content, **ids)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        assert list(answer) == ANSWER_FIELDS
        return answer

    def ids(self) -> list[str]:
        """Name the agents that are there, the one to be asked next first."""
        return [each["Id"] for each in self.user.get("/api/connections").json()["connections"] or []]

    def wait_for_nobody(self) -> None:
        """Wait until no agent is there."""
        wait_until(lambda: not self.ids(), "the agents to be gone")


def said(response: httpx2.Response, status: int = 200, kind: str = JSON) -> Any:
    """Read an answer that is what every answer of this wire is."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == kind
    assert response.headers["access-control-allow-origin"] == "*"
    return response.json() if kind == JSON else response.text


def post(client: httpx2.Client, path: str, **body: Any) -> httpx2.Response:
    """Send a JSON object."""
    return client.post(path, json=body)


def admin(deployment: Deployment, **options: Any) -> httpx2.Client:
    """Somebody with the admin key, which is a token too."""
    return httpx2.Client(base_url=deployment.url, headers={"Authorization": ADMIN_KEY}, timeout=30, verify=False, **options)


def meet(deployment: Deployment) -> Iterator[Agency]:
    """Meet at a site; for a fixture."""
    with ExitStack() as ends:
        user = ends.enter_context(admin(deployment))
        made = user.post("/admin/users/add", json={"admin_key": ADMIN_KEY}).json()
        user.headers["Authorization"] = made["token"]
        here = Agency(deployment, user, ends)
        yield here
    with admin(deployment) as left:
        wait_until(lambda: left.get("/api/connections").json()["connections"] is None, "the agents to be gone")
