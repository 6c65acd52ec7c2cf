"""`/healthz` and `/readyz`, and the id that every answer carries."""

import httpx2
import pytest
from sqlalchemy import text

from api.readiness import Readiness
from dev.servers.postgres_server import PostgresServer
from dev.testing.client import Client
from dev.testing.stack import Redis, wait_until
from shared.redis import redis_clients
from tests.api.deployment import Deployment
from tests.databases import migrated

ALL_IS_WELL = {"database": "ok", "redis": "ok", "worker": "ok"}


def test_a_process_that_answers_is_alive(anonymous: httpx2.Client) -> None:
    answer = anonymous.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_deployment_with_a_worker_is_ready(anonymous: httpx2.Client) -> None:
    answer = anonymous.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": ALL_IS_WELL})


def test_a_deployment_without_a_worker_says_so(idle_deployment: Deployment) -> None:
    answer = httpx2.get(f"{idle_deployment.url}/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert answer.json()["checks"] == {**ALL_IS_WELL, "worker": "No worker is alive."}


@pytest.mark.parametrize("request_id", ["a", "req-1", "A.b:c_d-9", "x" * 128])
def test_a_sane_request_id_comes_back(anonymous: httpx2.Client, request_id: str) -> None:
    assert anonymous.get("/healthz", headers={"X-Request-Id": request_id}).headers["x-request-id"] == request_id


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "a/b", "<script>", 'a"b', "é", "a\tb"])
def test_another_request_id_is_replaced(anonymous: httpx2.Client, request_id: str) -> None:
    answer = anonymous.get("/healthz", headers=[(b"X-Request-Id", request_id.encode())])
    assert answer.headers["x-request-id"].startswith("req_")


def test_every_answer_has_a_request_id_of_its_own(client: Client) -> None:
    answers = [client.http.get(path) for path in ("/jobs", "/jobs", "/jobs/x", "/nothing", "/readyz", "/openapi.json")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_a_request_id_is_in_the_log(anonymous: httpx2.Client, deployment: Deployment) -> None:
    request_id = "a-request-to-be-found"
    anonymous.get("/jobs", headers={"X-Request-Id": request_id})
    assert any(request_id in web.log() for web in deployment.stack.webs)


def test_many_looks_in_a_second_are_one(idle_deployment: Deployment) -> None:
    commands = idle_deployment.redis.client.info("commandstats")["cmdstat_set"]["calls"]
    for _ in range(50):
        httpx2.get(f"{idle_deployment.url}/readyz")
    assert idle_deployment.redis.client.info("commandstats")["cmdstat_set"]["calls"] - commands < 25


def test_a_redis_that_is_full_is_named_and_not_the_worker(deployment: Deployment) -> None:
    deployment.redis.client.config_set("maxmemory", "1")
    try:
        wait_until(lambda: httpx2.get(f"{deployment.url}/readyz").status_code == 503, "the full Redis to be seen")
        checks = httpx2.get(f"{deployment.url}/readyz").json()["checks"]
    finally:
        deployment.redis.client.config_set("maxmemory", "0")
    assert checks == {
        "database": "ok",
        "redis": "Redis does not answer, or cannot be written.",
        "worker": "Nobody knows while Redis is away.",
    }
    wait_until(lambda: httpx2.get(f"{deployment.url}/readyz").status_code == 200, "it to be ready again")


def test_a_database_that_may_only_be_read_is_not_ready(postgres_server: PostgresServer, empty_redis: Redis) -> None:
    database = migrated(postgres_server.create_database())
    client = redis_clients.blocking(empty_redis.url)
    assert Readiness(database, client, 1).checks()["database"] == "ok"
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET default_transaction_read_only = on"))
    assert Readiness(database, client, 1).checks()["database"] != "ok"
    database.engine.dispose()


def test_a_probe_that_is_well_is_no_news(anonymous: httpx2.Client, deployment: Deployment) -> None:
    request_id = "a-probe-not-to-be-found"
    anonymous.get("/healthz", headers={"X-Request-Id": request_id})
    anonymous.get("/jobs", headers={"X-Request-Id": "the-request-behind-it"})
    logs = "".join(web.log() for web in deployment.stack.webs)
    assert "the-request-behind-it" in logs
    assert request_id not in logs
