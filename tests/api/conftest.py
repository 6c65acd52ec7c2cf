"""Our own wire against real processes: one site that works, and one without workers, where everything stays as it was submitted."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from dev.servers.postgres_server import PostgresServer
from dev.testing.client import Client
from tests.api.agency import ADMIN_KEY, ANSWER_SECONDS, PING_SECONDS, WAIT_SECONDS, Agency, meet, post
from tests.api.site import Site, site

MOST_CHARS = 10_000
MOST_WAITING = 20
MOST = 3
"""What `strict` allows in a minute."""
BOTH = ["sqlite", "postgresql"]
ON_SQLITE = pytest.mark.parametrize("works", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""
ON_POSTGRESQL = pytest.mark.parametrize("works", ["postgresql"], indirect=True)

SETTINGS = {
    "LOGIN_LIMIT": "1000 per minute",  # all tests share one address
    "MAX_MESSAGE_CHARS": str(MOST_CHARS),
    "MAX_QUEUED_JOBS": str(MOST_WAITING),
}

AGENT_SETTINGS = {
    "ADMIN_KEY": ADMIN_KEY,
    "AGENT_PING_SECONDS": str(PING_SECONDS),
    "AGENT_ANSWER_SECONDS": str(ANSWER_SECONDS),
    "AGENT_WAIT_SECONDS": str(WAIT_SECONDS),
}
"""What makes an agent's failures fast enough for a test."""


class Sites:
    """The sites of one kind, each started when a test first asks for it: a parameter that comes and goes does not start it anew."""

    def __init__(self, folders: pytest.TempPathFactory, postgres: Callable[[], PostgresServer], **how: Any) -> None:
        """Prepare; `how` is what `site` is told."""
        self._folders = folders
        self._postgres = postgres
        self._how = how
        self._started: dict[str, Site] = {}
        self._ends = ExitStack()

    def on(self, database: str) -> Site:
        """Give the site on that kind of database."""
        if database not in self._started:
            folder = self._folders.mktemp("site")
            url = f"sqlite:///{folder / 'chatrelay.db'}" if database == "sqlite" else self._postgres().create_database()
            self._started[database] = self._ends.enter_context(site(folder, url, **self._how))
        return self._started[database]

    def end(self) -> None:
        """End them all."""
        self._ends.close()


def _sites(request: pytest.FixtureRequest, **how: Any) -> Iterator[Sites]:
    sites = Sites(request.getfixturevalue("tmp_path_factory"), lambda: request.getfixturevalue("postgres_server"), **how)
    yield sites
    sites.end()


@pytest.fixture(scope="session")
def working_sites(request: pytest.FixtureRequest) -> Iterator[Sites]:
    """API processes with a worker each."""
    yield from _sites(request, settings={"HEARTBEAT_SECONDS": "1", **SETTINGS})


@pytest.fixture(scope="session")
def idle_sites(request: pytest.FixtureRequest) -> Iterator[Sites]:
    """API processes without workers. Their hearts beat slowly, so that what is heard soon was not heard by them."""
    yield from _sites(request, settings=SETTINGS, workers=0)


@pytest.fixture(scope="session")
def agency_sites(request: pytest.FixtureRequest) -> Iterator[Sites]:
    """API processes with a worker each, for agents that are not waited for long."""
    yield from _sites(request, settings={"HEARTBEAT_SECONDS": "1", **AGENT_SETTINGS})


@pytest.fixture(scope="package", params=BOTH)
def works(request: pytest.FixtureRequest, working_sites: Sites) -> Site:
    """An API process and a worker."""
    return working_sites.on(request.param)


@pytest.fixture(scope="package", params=BOTH)
def idle(request: pytest.FixtureRequest, idle_sites: Sites) -> Site:
    """An API process and no worker."""
    return idle_sites.on(request.param)


@pytest.fixture(scope="package")
def strict(works: Site) -> str:
    """The address of an API process that allows little, behind a proxy that tells it who calls and what he called."""
    limit = f"{MOST} per minute"
    works.stack.start_web(LOGIN_LIMIT=limit, SUBMIT_LIMIT=limit, TRUSTED_PROXIES="1")
    return works.stack.urls[-1]


@pytest.fixture
def client(works: Site) -> Client:
    """A new user where jobs are done."""
    return works.user()


@pytest.fixture
def waiter(idle: Site) -> Client:
    """A new user where jobs only wait."""
    return idle.user()


@pytest.fixture
def anybody(works: Site) -> Iterator[httpx2.Client]:
    """Somebody without an account."""
    with httpx2.Client(base_url=works.url, timeout=30, verify=False) as http:
        yield http


@pytest.fixture(params=BOTH)
def agency(request: pytest.FixtureRequest, agency_sites: Sites) -> Iterator[Agency]:
    """A user who asks agents, and the agents that a test connects."""
    yield from meet(agency_sites.on(request.param))


@pytest.fixture
def nobody(agency: Agency) -> Iterator[httpx2.Client]:
    """Somebody without a token, where agents are."""
    with httpx2.Client(base_url=agency.url, timeout=30, verify=False) as http:
        yield http


@pytest.fixture
def elsewhere(agency: Agency) -> Iterator[Client]:
    """Who asks agents, at our own API."""
    client = Client(agency.url, agency.user.headers["Authorization"])
    yield client
    client.close()


@pytest.fixture
def agent_token(nobody: httpx2.Client) -> str:
    """A token for an agent."""
    token: str = post(nobody, "/admin/agents/add", admin_key=ADMIN_KEY).json()["token"]
    return token
