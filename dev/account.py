"""The API of a developer's stack: whether it is ready, and a token for the account that belongs to the data folder."""

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from dev.environment import PASSWORD_BYTES, kept_secret
from shared.errors import ChatrelayError

ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.5
NAME_BYTES = 4
ACCOUNT_FILE = "dev_account"


class NoToken(ChatrelayError):
    """The API issued no token."""


@dataclass(frozen=True)
class Answer:
    """A status and the JSON of the body."""

    status: int
    body: dict[str, Any]


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def call_api(port: int, method: str, path: str, body: dict[str, str] | None = None) -> Answer:
    """Call the API on this machine; the status is 0 when there is no answer. Standard library only: it never uses a proxy."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return Answer(response.status, _parsed(response.read()))
    except (OSError, HTTPException):
        return Answer(0, {})
    finally:
        connection.close()


def what_is_missing(port: int) -> str | None:
    """Return what keeps the API from being ready, by name; None when it is ready."""
    answer = call_api(port, "GET", "/readyz")
    if answer.status == HTTPStatus.OK:
        return None if call_api(port, "GET", "/healthz").status == HTTPStatus.OK else "it does not answer /healthz"
    checks = answer.body.get("checks")
    down = [f"{name}: {state}" for name, state in checks.items() if state != "ok"] if isinstance(checks, dict) else []
    return ", ".join(down) or "it does not answer /readyz"


async def wait_until_ready(port: int, seconds: float) -> str | None:
    """Wait for the API. Return None when it is ready, else what was still missing after so many seconds."""
    deadline = time.monotonic() + seconds
    while missing := await asyncio.to_thread(what_is_missing, port):
        if time.monotonic() > deadline:
            return missing
        await asyncio.sleep(POLL_SECONDS)
    return None


def _post(port: int, path: str, credentials: dict[str, str]) -> Answer:
    answer = call_api(port, "POST", path, credentials)
    if answer.status not in (HTTPStatus.CREATED, HTTPStatus.UNAUTHORIZED):
        raise NoToken(f"POST {path} answered {answer.status or 'nothing'}")
    return answer


def token(port: int, data_dir: Path) -> str:
    """Log in and return an access token; register first where the data folder, or its database, is new.

    Raises:
        NoToken: with the call that failed and its status.
    """
    path = data_dir / ACCOUNT_FILE
    is_new = not path.is_file()
    account = kept_secret(path, lambda: f"dev-{secrets.token_hex(NAME_BYTES)}:{secrets.token_urlsafe(PASSWORD_BYTES)}")
    username, _, password = account.partition(":")
    credentials = {"username": username, "password": password}
    answer = None if is_new else _post(port, "/auth/login", credentials)
    if answer is None or answer.status == HTTPStatus.UNAUTHORIZED:
        _post(port, "/auth/register", credentials)
        answer = _post(port, "/auth/login", credentials)
    access_token = answer.body.get("access_token")
    if not isinstance(access_token, str):
        raise NoToken("POST /auth/login returned no access_token")
    return access_token
