"""The developer's account: registered once, found again, and a clear word when the API does not play along."""

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dev import account


class FakeApi(ThreadingHTTPServer):
    """As much of the API as a login needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.passwords: dict[str, str] = {}
        self.calls: list[str] = []
        self.ready: dict[str, Any] | None = {"redis": "ok"}
        self.status_of_register = 201

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    """Answers for the Api it belongs to."""

    server: FakeApi

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self) -> None:
        checks = self.server.ready
        is_ready = self.path == "/healthz" or (checks is not None and set(checks.values()) == {"ok"})
        self._answer(200 if is_ready else 503, {"status": "…", "checks": checks})

    def do_POST(self) -> None:
        self.server.calls.append(self.path)
        credentials = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/register":
            self.server.passwords[credentials["username"]] = credentials["password"]
            return self._answer(self.server.status_of_register, {})
        known = self.server.passwords.get(credentials["username"]) == credentials["password"]
        return self._answer(201 if known else 401, {"access_token": f"for {credentials['username']}"} if known else {})


@pytest.fixture
def fake_api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_first_run_registers_and_the_next_logs_in(fake_api: FakeApi, tmp_path: Path) -> None:
    first = account.token(fake_api.port, tmp_path)
    second = account.token(fake_api.port, tmp_path)

    assert first == second == f"for {next(iter(fake_api.passwords))}"
    assert first.startswith("for dev-")
    assert fake_api.calls == ["/auth/register", "/auth/login", "/auth/login"]
    assert stat.S_IMODE((tmp_path / "dev_account").stat().st_mode) == 0o600


def test_an_account_that_the_database_forgot_is_registered_again(fake_api: FakeApi, tmp_path: Path) -> None:
    first = account.token(fake_api.port, tmp_path)
    fake_api.passwords.clear()

    assert account.token(fake_api.port, tmp_path) == first


def test_a_refusal_is_named(fake_api: FakeApi, tmp_path: Path) -> None:
    fake_api.status_of_register = 500

    with pytest.raises(account.NoToken, match=r"^POST /auth/register answered 500$"):
        account.token(fake_api.port, tmp_path)


def test_what_keeps_the_api_from_being_ready_is_named(fake_api: FakeApi) -> None:
    assert account.what_is_missing(fake_api.port) is None

    fake_api.ready = {"database": "ok", "redis": "connection refused", "worker": "none seen"}
    assert account.what_is_missing(fake_api.port) == "redis: connection refused, worker: none seen"

    fake_api.ready = None
    assert account.what_is_missing(fake_api.port) == "it does not answer /readyz"
