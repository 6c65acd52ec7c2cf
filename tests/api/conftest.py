"""Deployments of real processes: one with a worker, and one without, where every job stays as it was submitted."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from dev.servers.postgres_server import PostgresServer
from dev.testing.client import Client
from tests.api.agent_client import ADMIN_KEY, ANSWER_SECONDS, PING_SECONDS, WAIT_SECONDS, AgentClient, agent_client_of, post
from tests.api.deployment import Deployment, deployed

MAX_CHARS = 10_000
MAX_WAITING = 20
MAX_PER_MINUTE = 3
"""What `strict` allows in a minute."""
BOTH = ["sqlite", "postgresql"]
ON_SQLITE = pytest.mark.parametrize("deployment", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""
ON_POSTGRESQL = pytest.mark.parametrize("deployment", ["postgresql"], indirect=True)

SETTINGS = {
    "LOGIN_LIMIT": "1000 per minute",  # all tests share one address
    "MAX_MESSAGE_CHARS": str(MAX_CHARS),
    "MAX_QUEUED_JOBS": str(MAX_WAITING),
    "PROVIDER_DOWN_SECONDS": "3",
}

AGENT_SETTINGS = {
    "ADMIN_KEY": ADMIN_KEY,
    "AGENT_PING_SECONDS": str(PING_SECONDS),
    "AGENT_ANSWER_SECONDS": str(ANSWER_SECONDS),
    "AGENT_WAIT_SECONDS": str(WAIT_SECONDS),
}
"""What makes an agent's failures fast enough for a test."""


class Deployments:
    """Deployments with the same settings, one for each kind of database, each started when a test first needs it and kept."""

    def __init__(self, folders: pytest.TempPathFactory, postgres: Callable[[], PostgresServer], **options: Any) -> None:
        """Keep what to start; `options` are those of `deployed`."""
        self._folders = folders
        self._postgres = postgres
        self._options = options
        self._started: dict[str, Deployment] = {}
        self._stack = ExitStack()

    def on(self, database: str) -> Deployment:
        """Return the deployment on that kind of database."""
        if database not in self._started:
            folder = self._folders.mktemp("deployment")
            url = f"sqlite:///{folder / 'chatrelay.db'}" if database == "sqlite" else self._postgres().create_database()
            self._started[database] = self._stack.enter_context(deployed(folder, url, **self._options))
        return self._started[database]

    def end(self) -> None:
        """End them all."""
        self._stack.close()


def _deployments(request: pytest.FixtureRequest, **options: Any) -> Iterator[Deployments]:
    made = Deployments(request.getfixturevalue("tmp_path_factory"), lambda: request.getfixturevalue("postgres_server"), **options)
    yield made
    made.end()


@pytest.fixture(scope="session")
def deployments(request: pytest.FixtureRequest) -> Iterator[Deployments]:
    """API processes with a worker each."""
    yield from _deployments(request, settings={"HEARTBEAT_SECONDS": "1", **SETTINGS})


@pytest.fixture(scope="session")
def idle_deployments(request: pytest.FixtureRequest) -> Iterator[Deployments]:
    """API processes without workers. Heartbeats are rare, so that what a reader soon receives was not found at a heartbeat."""
    yield from _deployments(request, settings=SETTINGS, workers=0)


@pytest.fixture(scope="session")
def agent_deployments(request: pytest.FixtureRequest) -> Iterator[Deployments]:
    """API processes with a worker each, which wait for agents for seconds only."""
    yield from _deployments(request, settings={"HEARTBEAT_SECONDS": "1", **AGENT_SETTINGS})


@pytest.fixture(scope="package", params=BOTH)
def deployment(request: pytest.FixtureRequest, deployments: Deployments) -> Deployment:
    """An API process and a worker."""
    return deployments.on(request.param)


@pytest.fixture(scope="package", params=BOTH)
def idle_deployment(request: pytest.FixtureRequest, idle_deployments: Deployments) -> Deployment:
    """An API process and no worker."""
    return idle_deployments.on(request.param)


@pytest.fixture(scope="package")
def strict_url(deployment: Deployment) -> str:
    """The address of an API process with low limits, behind a proxy that says who calls which address."""
    limit = f"{MAX_PER_MINUTE} per minute"
    deployment.stack.start_web(LOGIN_LIMIT=limit, SUBMIT_LIMIT=limit, TRUSTED_PROXIES="1")
    return deployment.stack.urls[-1]


@pytest.fixture
def client(deployment: Deployment) -> Client:
    """A new user where jobs are run."""
    return deployment.user()


@pytest.fixture
def idle_client(idle_deployment: Deployment) -> Client:
    """A new user where jobs stay queued."""
    return idle_deployment.user()


@pytest.fixture
def anonymous(deployment: Deployment) -> Iterator[httpx2.Client]:
    """An HTTP client without credentials."""
    with httpx2.Client(base_url=deployment.url, timeout=30, verify=False) as http:
        yield http


@pytest.fixture(params=BOTH)
def agent_client(request: pytest.FixtureRequest, agent_deployments: Deployments) -> Iterator[AgentClient]:
    """A user who asks agents, and the agents that a test connects."""
    yield from agent_client_of(agent_deployments.on(request.param))


@pytest.fixture
def nobody(agent_client: AgentClient) -> Iterator[httpx2.Client]:
    """Somebody without a token, where agents are."""
    with httpx2.Client(base_url=agent_client.url, timeout=30, verify=False) as http:
        yield http


@pytest.fixture
def elsewhere(agent_client: AgentClient) -> Iterator[Client]:
    """Who asks agents, at our own API."""
    client = Client(agent_client.url, agent_client.user.headers["Authorization"])
    yield client
    client.close()


@pytest.fixture
def agent_token(nobody: httpx2.Client) -> str:
    """A token for an agent."""
    token: str = post(nobody, "/admin/agents/add", admin_key=ADMIN_KEY).json()["token"]
    return token
