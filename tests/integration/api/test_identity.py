"""Who is calling is remembered for a second: what one process deletes opens nothing in another one soon after."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.context import EXTENSION, Context
from dev.testing.stack import Redis, wait_until
from shared.config import Settings
from tests.api.tokens import access_token
from tests.integration.jobs import Jobs

STOPS_SECONDS = 2.0


@pytest.fixture
def apps(config: Settings, jobs: Jobs, empty_redis: Redis) -> Iterator[list[Flask]]:
    """Two API processes, as far as they share nothing but the database and Redis."""
    url = jobs.database.engine.url.render_as_string(hide_password=False)
    settings = config.model_copy(update={"database_url": url, "redis_url": empty_redis.url})
    with ExitStack() as closing:
        made = [create_app(settings) for _ in range(2)]
        for app in made:
            closing.callback(context(app).queue.close)
            closing.callback(context(app).redis.close)
            closing.callback(context(app).database.engine.dispose)
        yield made


def context(app: Flask) -> Context:
    found: Context = app.extensions[EXTENSION]
    return found


def caller(app: Flask, token: str) -> FlaskClient:
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def status(client: FlaskClient) -> int:
    return client.get("/jobs").status_code


def test_a_deleted_account_stops_here_at_once_and_elsewhere_soon(apps: list[Flask], jobs: Jobs) -> None:
    user_id = jobs.user()
    here, elsewhere = (caller(app, access_token(user_id)) for app in apps)
    assert (status(here), status(elsewhere)) == (200, 200)

    context(apps[0]).members.remove(user_id)

    assert status(here) == 401
    assert here.post("/jobs", json={"message": "Hello"}).status_code == 401
    assert elsewhere.post("/jobs", json={"message": "Hello"}).status_code == 401
    wait_until(lambda: status(elsewhere) == 401, "the account to be gone elsewhere", STOPS_SECONDS)


def test_a_revoked_token_stops_here_at_once_and_elsewhere_soon(apps: list[Flask], jobs: Jobs) -> None:
    row, token = context(apps[0]).api_tokens.create(jobs.user())
    here, elsewhere = (caller(app, token) for app in apps)
    assert (status(here), status(elsewhere)) == (200, 200)

    assert context(apps[0]).api_tokens.revoke(row.id, use=row.use)

    assert status(here) == 401
    wait_until(lambda: status(elsewhere) == 401, "the token to be revoked elsewhere", STOPS_SECONDS)
