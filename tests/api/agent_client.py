"""A client of ChatGPT-API-server's API, written from the description of its wire alone, with the agents that it asks."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2

from dev.testing.agent import Agent
from dev.testing.stack import wait_until
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
class AgentClient:
    """A user who asks agents at a deployment, and the agents that a test connects; they leave when it is over."""

    deployment: Deployment
    user: httpx2.Client
    ends: ExitStack

    @property
    def url(self) -> str:
        """The API's address."""
        return self.deployment.url

    def agent(self, **how: Any) -> Agent:
        """Connect an agent, with the arguments of `Agent`, and wait until it can be asked."""
        agent = self.ends.enter_context(Agent(**{"url": self.url, "token": ADMIN_KEY, **how}))
        wait_until(lambda: agent.is_over or agent.id in self.agent_ids(), "the agent to be connected")
        return agent

    def ask(self, content: str = "Hello", **ids: str) -> httpx2.Response:
        """Ask."""
        return self.user.post("/api/ask", json={"content": content, **ids})

    def answer(self, content: str = "Hello", **ids: str) -> dict[str, Any]:
        """Ask, and return the answer."""
        response = self.ask(content, **ids)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        assert list(answer) == ANSWER_FIELDS
        return answer

    def agent_ids(self) -> list[str]:
        """Return the ids of the agents that are connected, the one to be asked next first."""
        return [each["Id"] for each in self.user.get("/api/connections").json()["connections"] or []]

    def wait_for_no_agent(self) -> None:
        """Wait until no agent is connected."""
        wait_until(lambda: not self.agent_ids(), "the agents to be gone")


def checked(response: httpx2.Response, status: int = 200, kind: str = JSON) -> Any:
    """Return the body of a response, which has what every response of this dialect has."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == kind
    assert response.headers["access-control-allow-origin"] == "*"
    return response.json() if kind == JSON else response.text


def post(client: httpx2.Client, path: str, **body: Any) -> httpx2.Response:
    """Send a JSON object."""
    return client.post(path, json=body)


def admin(deployment: Deployment, **options: Any) -> httpx2.Client:
    """Return a client with the admin key, which is a token too."""
    return httpx2.Client(base_url=deployment.url, headers={"Authorization": ADMIN_KEY}, timeout=30, verify=False, **options)


def agent_client_of(deployment: Deployment) -> Iterator[AgentClient]:
    """Give a client of a deployment, for a fixture; wait for its agents to leave."""
    with ExitStack() as ends:
        user = ends.enter_context(admin(deployment))
        made = user.post("/admin/users/add", json={"admin_key": ADMIN_KEY}).json()
        user.headers["Authorization"] = made["token"]
        yield AgentClient(deployment, user, ends)
    with admin(deployment) as after:
        wait_until(lambda: after.get("/api/connections").json()["connections"] is None, "the agents to be gone")
