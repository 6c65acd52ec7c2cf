"""A Redis with TLS of a private authority, and a user with few rights: all works, and what is missing is named at the start."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
import redis
from kombu.exceptions import OperationalError

from dev.paths import ROOT
from dev.testing.client import Client, counted
from dev.testing.stack import BIN, SECRET_KEY, SHORT_LEASES, Process, Stack, free_port, running, wait_until
from shared.config import Settings
from shared.queue import make_celery
from tests import certificates

PROGRAM = shutil.which("redis-server")
RIGHTS = ("~chatrelay:*", "~_kombu.*", "~*.celery.pidbox*", "~celeryev.*", "&*", "+@all", "-@dangerous", "+info")
"""As docs/operations.md writes them down."""
PASSWORD = "a-password-of-redis"

pytestmark = pytest.mark.skipif(
    PROGRAM is None and os.environ.get("CI") != "true", reason="Redis with TLS is not installed (Debian's package redis-server)"
)


class GuardedRedis(NamedTuple):
    """Its URL for our user, the same that trusts another authority, and a client that may do everything."""

    url: str
    mistrusting_url: str
    client: "redis.Redis"


@contextmanager
def guarded(folder: Path) -> Iterator[GuardedRedis]:
    """Run a Redis that speaks TLS only."""
    authority, certificate, key = certificates.make(folder / "trusted")
    other, *_ = certificates.make(folder / "other")
    port = free_port()
    assert PROGRAM, "Redis with TLS is not installed (Debian's package redis-server)"
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(authority))
    command = [
        PROGRAM,
        "--port",
        "0",
        "--tls-port",
        str(port),
        "--tls-auth-clients",
        "no",
        "--save",
        "",
        "--dir",
        str(folder),
        *files,
    ]
    process = Process("tls-redis", command, dict(os.environ), folder)
    client = redis.Redis.from_url(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}")
    try:
        wait_until(lambda: _answers(client), "Redis to answer")
        client.execute_command("ACL", "SETUSER", "chatrelay", "on", f">{PASSWORD}", *RIGHTS)
        url = f"rediss://chatrelay:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs="
        yield GuardedRedis(f"{url}{authority}", f"{url}{other}", client)
    finally:
        process.kill()


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture(scope="module")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    with guarded(tmp_path_factory.mktemp("guarded")) as made:
        yield made


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, guarded_redis: GuardedRedis) -> Iterator[Stack]:
    """One API process and two workers on it."""
    folder = tmp_path_factory.mktemp("stack")
    database = f"sqlite:///{folder / 'chatrelay.db'}"
    with running(Stack(folder, guarded_redis.url, database, **SHORT_LEASES), workers=2) as started:
        yield started


def test_few_rights_and_a_private_authority_are_enough(client: Client, stack: Stack) -> None:
    reading = client.events(client.submit(model="demo?tokens=30&gap_ms=5")["id"])
    assert reading.text == counted(30)
    running_job = client.submit(model="demo?tokens=5000&gap_ms=10")["id"]
    wait_until(lambda: client.job(running_job)["status"] == "in_progress", "it to run")
    assert client.http.post(f"/jobs/{running_job}/cancel").status_code in {200, 202}
    assert client.finished(running_job)["status"] == "cancelled"
    assert httpx2.get(f"{stack.url}/readyz").json()["status"] == "ok"


def test_a_dead_worker_is_replaced_and_nothing_was_refused(client: Client, stack: Stack, guarded_redis: GuardedRedis) -> None:
    jobs = [client.submit(model="demo?tokens=60&gap_ms=40")["id"] for _ in range(6)]
    wait_until(lambda: "job.claimed" in stack.workers[0].log(), "a claim")
    stack.workers[0].signal(signal.SIGKILL)
    assert [client.events(job).text for job in jobs] == [counted(60)] * 6
    refused = guarded_redis.client.execute_command("ACL", "LOG")
    assert refused == []


def test_flower_sees_the_workers(stack: Stack, guarded_redis: GuardedRedis) -> None:
    port = free_port()
    command = [str(BIN / "celery"), "-A", "workers.flower_app", "flower", f"--port={port}", "--address=127.0.0.1"]
    stack.start("flower", command, FLOWER_BASIC_AUTH="a:b", FLOWER_UNAUTHENTICATED_API="false")
    found = wait_for_json(f"http://127.0.0.1:{port}/api/workers?refresh=1")
    assert any("worker-1" in name for name in found)
    assert guarded_redis.client.execute_command("ACL", "LOG") == []


def wait_for_json(url: str) -> dict[str, object]:
    found: dict[str, object] = {}

    def ask() -> bool:
        try:
            answer = httpx2.get(url, auth=("a", "b"), timeout=10)
        except httpx2.HTTPError:
            return False
        if answer.status_code == 200:
            found.update(answer.json())
        return bool(found)

    wait_until(ask, url)
    return found


def test_celery_gives_the_password_to_nobody_whom_it_cannot_verify(guarded_redis: GuardedRedis) -> None:
    app = make_celery(Settings(secret_key=SECRET_KEY, redis_url=guarded_redis.mistrusting_url))
    with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        app.connection_for_write().ensure_connection(max_retries=1, interval_start=0)
    trusting = make_celery(Settings(secret_key=SECRET_KEY, redis_url=guarded_redis.url))
    trusting.connection_for_write().ensure_connection(max_retries=1, interval_start=0)


@pytest.mark.parametrize(("role", "code"), [("worker", 1), ("web", 3)])
@pytest.mark.parametrize(("missing", "named"), [("-info", "INFO"), ("-xadd", "XADD"), (">another", "password")])
def test_what_is_missing_is_said_at_the_start(
    stack: Stack, guarded_redis: GuardedRedis, role: str, code: int, missing: str, named: str
) -> None:
    acl = ("ACL", "SETUSER", "poor", "reset", "on", ">p", *RIGHTS)
    guarded_redis.client.execute_command(*acl, *(("resetpass", missing) if missing.startswith(">") else (missing,)))
    url = guarded_redis.url.replace(f"chatrelay:{PASSWORD}", "poor:p")
    commands: dict[str, list[str | Path]] = {
        "worker": [BIN / "celery", "-A", "workers.app", "worker", "-n", "poor"],
        "web": [BIN / "gunicorn", "-c", "gunicorn.conf.py", "api.app:create_app()"],
    }
    environment = {**stack.environment, "REDIS_URL": url, "PORT": str(free_port())}
    ended = subprocess.run(commands[role], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("chatrelay: cannot start: REDIS_URL: ")]
    assert ended.returncode == code, ended.stderr
    assert len(lines) == 1
    assert named in lines[0]
    assert "Traceback" not in ended.stderr
