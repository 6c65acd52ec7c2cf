"""Our own wire against real processes: one site that works, and one without workers, where everything stays as it was submitted."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from dev.postgres_server import PostgresServer
from tests.api.site import Site, site
from tests.client import Client

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


def _database_url(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'chatrelay.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database()


@pytest.fixture(scope="package", params=BOTH)
def works(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An API process and a worker."""
    folder = tmp_path_factory.mktemp("works")
    with site(folder, _database_url(request, folder), {"HEARTBEAT_SECONDS": "1", **SETTINGS}) as started:
        yield started


@pytest.fixture(scope="package", params=BOTH)
def idle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An API process and no worker. Its heart beats slowly, so that what is heard soon was not heard by it."""
    folder = tmp_path_factory.mktemp("idle")
    with site(folder, _database_url(request, folder), SETTINGS, workers=0) as started:
        yield started


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
