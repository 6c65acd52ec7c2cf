"""The API seen by a developer's machine: is it ready, and a token for the account that every run of a data folder shares."""

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from dev.environment import PASSWORD_BYTES, kept
from shared.errors import ChatrelayError

ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.5
NAME_BYTES = 4
ACCOUNT_FILE = "dev_account"


class NoToken(ChatrelayError):
    """The API gave no token."""


@dataclass(frozen=True)
class Answer:
    """A status and the JSON that came with it."""

    status: int
    body: dict[str, Any]


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def ask(port: int, method: str, path: str, body: dict[str, str] | None = None) -> Answer:
    """One call of the API on this machine; status 0 when nobody answers. Standard library only: no proxy is ever asked."""
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
    """Which part of the stack keeps the API from being ready; None when it is."""
    answer = ask(port, "GET", "/readyz")
    if answer.status == HTTPStatus.OK:
        return None if ask(port, "GET", "/healthz").status == HTTPStatus.OK else "it does not answer /healthz"
    checks = answer.body.get("checks")
    down = [f"{name}: {state}" for name, state in checks.items() if state != "ok"] if isinstance(checks, dict) else []
    return ", ".join(down) or "it does not answer /readyz"


async def until_ready(port: int, seconds: float) -> str | None:
    """Wait for the API; None when it is ready, else what it was still missing when the time was over."""
    deadline = time.monotonic() + seconds
    while missing := await asyncio.to_thread(what_is_missing, port):
        if time.monotonic() > deadline:
            return missing
        await asyncio.sleep(POLL_SECONDS)
    return None


def _call(port: int, path: str, credentials: dict[str, str]) -> Answer:
    answer = ask(port, "POST", path, credentials)
    if answer.status not in (HTTPStatus.CREATED, HTTPStatus.UNAUTHORIZED):
        raise NoToken(f"POST {path} answered {answer.status or 'nothing'}")
    return answer


def token(port: int, data_dir: Path) -> str:
    """Log in; register first where the data folder, or the database behind it, is new.

    Raises:
        NoToken: naming the call that failed and its status.
    """
    path = data_dir / ACCOUNT_FILE
    is_new = not path.is_file()
    account = kept(path, lambda: f"dev-{secrets.token_hex(NAME_BYTES)}:{secrets.token_urlsafe(PASSWORD_BYTES)}")
    username, _, password = account.partition(":")
    credentials = {"username": username, "password": password}
    answer = None if is_new else _call(port, "/auth/login", credentials)
    if answer is None or answer.status == HTTPStatus.UNAUTHORIZED:
        _call(port, "/auth/register", credentials)
        answer = _call(port, "/auth/login", credentials)
    given = answer.body.get("access_token")
    if not isinstance(given, str):
        raise NoToken("POST /auth/login gave no access_token")
    return given
