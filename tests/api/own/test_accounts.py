"""`/auth`: accounts and their tokens."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from dev.testing.client import PASSWORD, Client
from tests.api.conftest import ON_SQLITE
from tests.api.wire import assert_refused

CREDENTIALS_REFUSED = {
    "name missing": ({"password": PASSWORD}, "username"),
    "password missing": ({"username": "ann"}, "password"),
    "name empty": ({"username": "", "password": PASSWORD}, "username"),
    "name with a blank": ({"username": "an n", "password": PASSWORD}, "username"),
    "name with a NUL": ({"username": "an\x00n", "password": PASSWORD}, "username"),
    "name too long": ({"username": "a" * 65, "password": PASSWORD}, "username"),
    "password too short": ({"username": "ann", "password": "1234567"}, "password"),
    "password no text": ({"username": "ann", "password": 12345678}, "password"),
    "unknown field": ({"username": "ann", "password": PASSWORD, "is_admin": True}, "is_admin"),
}


def _credentials() -> dict[str, str]:
    return {"username": f"user-{secrets.token_hex(8)}", "password": PASSWORD}


@pytest.fixture
def tokens(anybody: httpx2.Client) -> dict[str, Any]:
    """What a new user got at his first login."""
    credentials = _credentials()
    assert anybody.post("/auth/register", json=credentials).status_code == 201
    answer = anybody.post("/auth/login", json=credentials)
    assert answer.status_code == 201
    given: dict[str, Any] = answer.json()
    return given


def _refresh(anybody: httpx2.Client, token: str) -> httpx2.Response:
    return anybody.post("/auth/refresh", json={"refresh_token": token})


def _assert_unauthorized(response: httpx2.Response) -> dict[str, Any]:
    """A refusal under `/auth` has two fields besides the envelope, where the clients of a dialect look."""
    assert response.status_code == 401, response.text
    body: dict[str, Any] = response.json()
    assert set(body) == {"error", "statusCode", "message"}
    assert body["statusCode"] == 401
    assert body["message"] == body["error"]["message"]
    assert body["error"]["type"] == "authentication_error"
    assert response.headers["x-request-id"]
    return body


@ON_SQLITE
def test_register_answers_with_the_account(anybody: httpx2.Client) -> None:
    credentials = _credentials()
    answer = anybody.post("/auth/register", json=credentials)
    assert answer.status_code == 201
    assert set(answer.json()) == {"id", "sub", "username"}
    assert answer.json()["sub"] == answer.json()["id"]
    assert answer.json()["username"] == credentials["username"]


def test_a_taken_name_is_refused(anybody: httpx2.Client) -> None:
    credentials = _credentials()
    assert anybody.post("/auth/register", json=credentials).status_code == 201
    assert_refused(anybody.post("/auth/register", json=credentials), 409, param="username", code="username_taken")


@ON_SQLITE
@pytest.mark.parametrize(("credentials", "param"), CREDENTIALS_REFUSED.values(), ids=CREDENTIALS_REFUSED)
def test_bad_credentials_make_no_account(anybody: httpx2.Client, credentials: dict[str, Any], param: str) -> None:
    assert_refused(anybody.post("/auth/register", json=credentials), 400, param=param)


def test_login_gives_tokens_that_work(anybody: httpx2.Client, tokens: dict[str, Any]) -> None:
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 900
    answer = anybody.get("/jobs", headers={"Authorization": f"{tokens['token_type']} {tokens['access_token']}"})
    assert answer.status_code == 200


@ON_SQLITE
def test_wrong_name_and_wrong_password_answer_alike(anybody: httpx2.Client) -> None:
    credentials = _credentials()
    assert anybody.post("/auth/register", json=credentials).status_code == 201
    wrong_password = anybody.post("/auth/login", json={**credentials, "password": "another password"})
    wrong_name = anybody.post("/auth/login", json=_credentials())
    assert _assert_unauthorized(wrong_password) == _assert_unauthorized(wrong_name)
    assert set(wrong_password.headers) == set(wrong_name.headers)


@ON_SQLITE
def test_a_query_string_logs_nobody_in(anybody: httpx2.Client) -> None:
    # Queries stand in the logs of every proxy on the way.
    credentials = _credentials()
    assert anybody.post("/auth/register", json=credentials).status_code == 201
    name, password = ({field: credentials[field]} for field in ("username", "password"))
    assert_refused(anybody.post("/auth/login", params=credentials), 400, param="body")
    for how in ("json", "data"):
        assert_refused(anybody.post("/auth/login", params=password, **{how: name}), 400, param="password")  # type: ignore[arg-type]
        assert_refused(anybody.post("/auth/login", params=name, **{how: password}), 400, param="username")  # type: ignore[arg-type]


def test_a_refresh_gives_new_tokens(anybody: httpx2.Client, tokens: dict[str, Any]) -> None:
    answer = _refresh(anybody, tokens["refresh_token"])
    assert answer.status_code == 201
    assert set(answer.json()) == set(tokens)
    assert answer.json()["refresh_token"] != tokens["refresh_token"]
    assert _refresh(anybody, answer.json()["refresh_token"]).status_code == 201


def test_a_refresh_token_used_twice_revokes_its_family(anybody: httpx2.Client, tokens: dict[str, Any]) -> None:
    newer = _refresh(anybody, tokens["refresh_token"]).json()["refresh_token"]
    _assert_unauthorized(_refresh(anybody, tokens["refresh_token"]))
    _assert_unauthorized(_refresh(anybody, newer))


def test_a_refresh_token_used_at_once_by_many_is_used_once(anybody: httpx2.Client, tokens: dict[str, Any]) -> None:
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: _refresh(anybody, tokens["refresh_token"]), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 401, 401, 401, 401, 401]


@ON_SQLITE
def test_another_login_is_another_family(anybody: httpx2.Client) -> None:
    credentials = _credentials()
    assert anybody.post("/auth/register", json=credentials).status_code == 201
    one, other = (anybody.post("/auth/login", json=credentials).json()["refresh_token"] for _ in range(2))
    assert anybody.post("/auth/logout", json={"refresh_token": one}).status_code == 204
    _assert_unauthorized(_refresh(anybody, one))
    assert _refresh(anybody, other).status_code == 201


def test_after_logout_no_token_of_the_family_refreshes(anybody: httpx2.Client, tokens: dict[str, Any]) -> None:
    newer = _refresh(anybody, tokens["refresh_token"]).json()["refresh_token"]
    answer = anybody.post("/auth/logout", json={"refresh_token": newer})
    assert (answer.status_code, answer.content) == (204, b"")
    _assert_unauthorized(_refresh(anybody, newer))


@ON_SQLITE
def test_a_refresh_token_is_not_an_access_token(anybody: httpx2.Client, tokens: dict[str, Any]) -> None:
    answer = anybody.get("/jobs", headers={"Authorization": f"Bearer {tokens['refresh_token']}"})
    assert_refused(answer, 401)


@ON_SQLITE
@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
def test_only_a_refresh_token_refreshes(anybody: httpx2.Client, tokens: dict[str, Any], path: str) -> None:
    for wrong in (tokens["access_token"], "", "no token", tokens["refresh_token"][:-2]):
        body = _assert_unauthorized(anybody.post(path, json={"refresh_token": wrong}))
        assert body["error"]["param"] == "refresh_token"


@ON_SQLITE
def test_a_ticket_is_not_an_access_token(client: Client) -> None:
    ticket = client.submit(model="demo?tokens=1")["stream_url"].partition("ticket=")[2]
    for method, path in (("GET", "/jobs"), ("POST", "/jobs"), ("POST", "/auth/refresh")):
        answer = client.http.request(method, path, headers={"Authorization": f"Bearer {ticket}"}, json={"refresh_token": ticket})
        assert answer.status_code == 401, (method, path)


@ON_SQLITE
def test_who_is_not_known_sends_little(anybody: httpx2.Client) -> None:
    answer = anybody.post("/auth/login", json={"username": "x" * 70_000, "password": "x"})
    assert_refused(answer, 413, param="body", code="too_large")
