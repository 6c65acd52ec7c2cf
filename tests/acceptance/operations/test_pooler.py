"""Through PgBouncer, in both of its modes: the migration, the API and the workers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dev.servers.postgres_server import PostgresServer
from dev.testing.client import Client, counted
from dev.testing.stack import SHORT_LEASES, Redis, Stack, running, wait_until
from tests.pgbouncer import needs_pgbouncer, pgbouncer

JOBS = 40

pytestmark = needs_pgbouncer


@pytest.fixture(scope="module", params=["session", "transaction"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: Redis, postgres_server: PostgresServer
) -> Iterator[Stack]:
    """One API process and two workers behind a PgBouncer."""
    redis_server.client.flushall()
    with pgbouncer(postgres_server.create_database(), request.param) as url:
        folder = tmp_path_factory.mktemp(f"pooled-{request.param}")
        with running(Stack(folder, redis_server.url, url, **SHORT_LEASES), webs=1, workers=2) as started:
            yield started


def test_jobs_are_done_as_without_it(client: Client, stack: Stack) -> None:
    with ThreadPoolExecutor(8) as threads:
        jobs = list(threads.map(lambda _: client.submit(model="demo?tokens=30&gap_ms=2"), range(JOBS)))
    for job in jobs:
        reading = client.events(job["id"])
        assert reading.text == counted(30)
        reading.assert_dense()
    logs = "".join(process.log() for process in (*stack.webs, *stack.workers))
    assert "prepared statement" not in logs
    assert "Traceback" not in logs


def test_a_job_outlives_its_worker(client: Client, stack: Stack) -> None:
    worker = stack.start_worker()
    jobs = [client.submit(model="demo?tokens=60&gap_ms=30")["id"] for _ in range(6)]
    wait_until(lambda: "job.claimed" in worker.log(), "the worker to claim")
    worker.kill()
    for job_id in jobs:
        assert client.events(job_id).text == counted(60)
