"""How much work the API does for one request: the counts are budgets, and a test fails when one grows. Lower them when one shrinks.

Counted is the request's own thread: the doorbell is sent in another.
"""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from itertools import islice

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.auth import remembered
from api.context import EXTENSION, Context
from api.jobs.admission import LOOK_JOBS
from dev.testing.stack import Redis
from shared.config import Settings
from shared.jobs import ending
from shared.jobs.ending import Ending
from shared.log.stream import WriteVerdict
from shared.models import Status
from tests.api.tokens import access_token
from tests.integration.budgets.work import counted
from tests.integration.entries import begun, write
from tests.integration.jobs import Jobs

FLUSH_SECONDS = 5.0
MEMORY_SECONDS = 600.0

Request = Callable[[FlaskClient], object]


@pytest.fixture(autouse=True)
def long_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be forgotten in the middle of a test on a slow machine."""
    monkeypatch.setattr(remembered, "LOOK_SECONDS", MEMORY_SECONDS)


@pytest.fixture
def app(config: Settings, jobs: Jobs, empty_redis: Redis) -> Iterator[Flask]:
    """The API, on the tests' database."""
    url = jobs.database.engine.url.render_as_string(hide_password=False)
    app = create_app(config.model_copy(update={"database_url": url, "redis_url": empty_redis.url}))
    context: Context = app.extensions[EXTENSION]
    yield app
    context.hub.close()
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


def test_a_submission(app: Flask, client: FlaskClient, jobs: Jobs) -> None:
    statements = 3 if jobs.database.is_sqlite else 1  # SQLite has no statement that changes several tables

    assert work_of(app, client, accepted) == (statements, 1, 1, 0)


def test_a_submission_with_a_key(app: Flask, client: FlaskClient, jobs: Jobs) -> None:
    keys = iter("ab")
    statements = 5 if jobs.database.is_sqlite else 2  # one of them looks whether the key is known

    assert work_of(app, client, lambda client: accepted(client, **{"Idempotency-Key": next(keys)})) == (statements, 2, 1, 0)


def test_a_submission_to_a_conversation(app: Flask, client: FlaskClient, jobs: Jobs) -> None:
    conversation_id = str((client.get(f"/jobs/{accepted(client)}").json or {})["conversation_id"])
    statements = 5 if jobs.database.is_sqlite else 3

    def submission(client: FlaskClient) -> None:
        answer = client.post("/jobs", json={"message": "Hello", "conversation_id": conversation_id})
        assert answer.status_code == HTTPStatus.ACCEPTED

    assert work_of(app, client, submission) == (statements, 1, 1, 0)


def test_a_submission_behind_many_jobs(app: Flask, client: FlaskClient, jobs: Jobs) -> None:
    """How many they are is remembered: the second submission behind a long queue costs what one behind none does."""
    for _ in range(LOOK_JOBS):
        accepted(client)
    statements = 3 if jobs.database.is_sqlite else 1

    assert work_of(app, client, accepted) == (statements, 1, 1, 0)


def test_a_replay(app: Flask, client: FlaskClient) -> None:
    assert work_of(app, client, lambda client: accepted(client, **{"Idempotency-Key": "a key"})) == (2, 1, 0, 0)


def test_a_look_at_a_queued_job(app: Flask, client: FlaskClient) -> None:
    job_id = accepted(client)

    assert work_of(app, client, lambda client: client.get(f"/jobs/{job_id}").json) == (1, 1, 0, 0)


def test_a_stream_of_a_job_that_is_over(app: Flask, client: FlaskClient, jobs: Jobs) -> None:
    job_id = accepted(client)
    assert jobs.claim()
    with jobs.database.write() as session:
        ending.end_held(session, job_id, 1, begun(3), Ending(Status.COMPLETED, "stop"), [])

    assert work_of(app, client, lambda client: client.get(f"/jobs/{job_id}/events").data) == (2, 2, 0, 0)


def test_opening_a_stream_of_a_running_job(app: Flask, client: FlaskClient, jobs: Jobs, empty_redis: Redis) -> None:
    """One statement finds the job, one round trip subscribes, one reads the log; then nothing until something is published."""
    job_id = accepted(client)
    assert jobs.claim()
    assert write(empty_redis.client, begun(2), job_id=job_id).verdict is WriteVerdict.OK

    def opening(client: FlaskClient) -> None:
        answer = client.get(f"/jobs/{job_id}/events")
        shown = b"".join(islice(answer.iter_encoded(), 3))
        answer.close()
        assert shown.count(b"id: ") == 2

    context: Context = app.extensions[EXTENSION]
    with context.hub.subscription("another"):  # the hub's connection stands, as it does while anybody reads
        assert work_of(app, client, opening) == (1, 1, 3, 0)  # the third one unsubscribes


def test_a_cancel_of_a_queued_job(app: Flask, client: FlaskClient) -> None:
    job_ids = [accepted(client) for _ in range(2)]

    assert work_of(app, client, lambda client: client.post(f"/jobs/{job_ids.pop()}/cancel").json) == (11, 8, 2, 0)
