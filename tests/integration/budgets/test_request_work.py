"""How much work the API does for one request: the counts are budgets, and a test fails when one grows. Lower them when one shrinks.

Counted is the request's own thread: the doorbell is sent in another.
"""

from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.context import EXTENSION, Context
from dev.testing.stack import Redis
from shared.config import Settings
from shared.jobs import ending
from shared.jobs.ending import Ending
from shared.models import Status
from tests.api.tokens import access_token
from tests.integration.budgets.work import counted
from tests.integration.entries import begun
from tests.integration.jobs import Jobs

FLUSH_SECONDS = 5.0

Request = Callable[[FlaskClient], object]


@pytest.fixture
def app(config: Settings, jobs: Jobs, empty_redis: Redis) -> Iterator[Flask]:
    """The API, on the tests' database."""
    url = jobs.database.engine.url.render_as_string(hide_password=False)
    app = create_app(config.model_copy(update={"database_url": url, "redis_url": empty_redis.url}))
    context: Context = app.extensions[EXTENSION]
    yield app
    context.queue.flush(FLUSH_SECONDS)
    context.queue.close()
    context.redis.close()
    context.database.engine.dispose()


@pytest.fixture
def client(app: Flask, jobs: Jobs) -> FlaskClient:
    """A client of one user."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {access_token(jobs.user())}"
    return client


def work_of(app: Flask, client: FlaskClient, request: Request) -> tuple[int, ...]:
    """Count the second of two alike requests: the first one connects.

    Returns:
        statements, transactions, Redis round trips, and crossings into an event loop, which an API process does not have.
    """
    context: Context = app.extensions[EXTENSION]
    request(client)
    with counted(context.database) as work:
        request(client)
    return work.counts()


def accepted(client: FlaskClient, **headers: str) -> str:
    answer = client.post("/jobs", json={"message": "Hello"}, headers=headers)
    assert answer.status_code == HTTPStatus.ACCEPTED
    return str((answer.json or {})["id"])


def test_a_submission(app: Flask, client: FlaskClient) -> None:
    assert work_of(app, client, accepted) == (9, 2, 2, 0)


def test_a_replay(app: Flask, client: FlaskClient) -> None:
    assert work_of(app, client, lambda client: accepted(client, **{"Idempotency-Key": "a key"})) == (3, 2, 0, 0)


def test_a_look_at_a_queued_job(app: Flask, client: FlaskClient) -> None:
    job_id = accepted(client)

    assert work_of(app, client, lambda client: client.get(f"/jobs/{job_id}").json) == (2, 2, 0, 0)


def test_a_stream_of_a_job_that_is_over(app: Flask, client: FlaskClient, jobs: Jobs) -> None:
    job_id = accepted(client)
    assert jobs.claim()
    with jobs.database.write() as session:
        ending.end_held(session, job_id, 1, begun(3), Ending(Status.COMPLETED, "stop"), [])

    assert work_of(app, client, lambda client: client.get(f"/jobs/{job_id}/events").data) == (3, 3, 0, 0)


def test_a_cancel_of_a_queued_job(app: Flask, client: FlaskClient) -> None:
    job_ids = [accepted(client) for _ in range(2)]

    assert work_of(app, client, lambda client: client.post(f"/jobs/{job_ids.pop()}/cancel").json) == (12, 9, 2, 0)
