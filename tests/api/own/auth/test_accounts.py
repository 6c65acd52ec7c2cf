"""`/auth`: accounts and their tokens."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from dev.testing.client import PASSWORD, Client
from tests.api.conftest import ON_SQLITE
from tests.api.refusals import assert_refused

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

Account = tuple[dict[str, str], httpx2.Client]
"""A name and a password, and a client that is logged in with them."""


def _credentials() -> dict[str, str]:
    return {"username": f"user-{secrets.token_hex(8)}", "password": PASSWORD}


@pytest.fixture
def tokens(anonymous: httpx2.Client) -> dict[str, Any]:
    """The tokens of a new user's first login."""
    credentials = _credentials()
    assert anonymous.post("/auth/register", json=credentials).status_code == 201
    answer = anonymous.post("/auth/login", json=credentials)
    assert answer.status_code == 201
    pair: dict[str, Any] = answer.json()
    return pair


def _refresh(anonymous: httpx2.Client, token: str) -> httpx2.Response:
    return anonymous.post("/auth/refresh", json={"refresh_token": token})


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
def test_register_answers_with_the_account(anonymous: httpx2.Client) -> None:
    credentials = _credentials()
    answer = anonymous.post("/auth/register", json=credentials)
    assert answer.status_code == 201
    assert set(answer.json()) == {"id", "sub", "username"}
    assert answer.json()["sub"] == answer.json()["id"]
    assert answer.json()["username"] == credentials["username"]


def test_a_taken_name_is_refused(anonymous: httpx2.Client) -> None:
    credentials = _credentials()
    assert anonymous.post("/auth/register", json=credentials).status_code == 201
    assert_refused(anonymous.post("/auth/register", json=credentials), 409, param="username", code="username_taken")


@ON_SQLITE
@pytest.mark.parametrize(("credentials", "param"), CREDENTIALS_REFUSED.values(), ids=CREDENTIALS_REFUSED)
def test_bad_credentials_make_no_account(anonymous: httpx2.Client, credentials: dict[str, Any], param: str) -> None:
    assert_refused(anonymous.post("/auth/register", json=credentials), 400, param=param)


def test_login_gives_tokens_that_work(anonymous: httpx2.Client, tokens: dict[str, Any]) -> None:
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 900
    answer = anonymous.get("/jobs", headers={"Authorization": f"{tokens['token_type']} {tokens['access_token']}"})
    assert answer.status_code == 200


@ON_SQLITE
def test_wrong_name_and_wrong_password_answer_alike(anonymous: httpx2.Client) -> None:
    credentials = _credentials()
    assert anonymous.post("/auth/register", json=credentials).status_code == 201
    wrong_password = anonymous.post("/auth/login", json={**credentials, "password": "another password"})
    wrong_name = anonymous.post("/auth/login", json=_credentials())
    assert _assert_unauthorized(wrong_password) == _assert_unauthorized(wrong_name)
    assert set(wrong_password.headers) == set(wrong_name.headers)


@ON_SQLITE
def test_a_query_string_logs_nobody_in(anonymous: httpx2.Client) -> None:
    # Queries stand in the logs of every proxy on the way.
    credentials = _credentials()
    assert anonymous.post("/auth/register", json=credentials).status_code == 201
    name, password = ({field: credentials[field]} for field in ("username", "password"))
    assert_refused(anonymous.post("/auth/login", params=credentials), 400, param="body")
    for how in ("json", "data"):
        assert_refused(anonymous.post("/auth/login", params=password, **{how: name}), 400, param="password")  # type: ignore[arg-type]
        assert_refused(anonymous.post("/auth/login", params=name, **{how: password}), 400, param="username")  # type: ignore[arg-type]


def test_a_refresh_gives_new_tokens(anonymous: httpx2.Client, tokens: dict[str, Any]) -> None:
    answer = _refresh(anonymous, tokens["refresh_token"])
    assert answer.status_code == 201
    assert set(answer.json()) == set(tokens)
    assert answer.json()["refresh_token"] != tokens["refresh_token"]
    assert _refresh(anonymous, answer.json()["refresh_token"]).status_code == 201


def test_a_refresh_token_used_twice_revokes_its_family(anonymous: httpx2.Client, tokens: dict[str, Any]) -> None:
    newer = _refresh(anonymous, tokens["refresh_token"]).json()["refresh_token"]
    _assert_unauthorized(_refresh(anonymous, tokens["refresh_token"]))
    _assert_unauthorized(_refresh(anonymous, newer))


def test_a_refresh_token_used_at_once_by_many_is_used_once(anonymous: httpx2.Client, tokens: dict[str, Any]) -> None:
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: _refresh(anonymous, tokens["refresh_token"]), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 401, 401, 401, 401, 401]


@ON_SQLITE
def test_another_login_is_another_family(anonymous: httpx2.Client) -> None:
    credentials = _credentials()
    assert anonymous.post("/auth/register", json=credentials).status_code == 201
    one, other = (anonymous.post("/auth/login", json=credentials).json()["refresh_token"] for _ in range(2))
    assert anonymous.post("/auth/logout", json={"refresh_token": one}).status_code == 204
    _assert_unauthorized(_refresh(anonymous, one))
    assert _refresh(anonymous, other).status_code == 201


def test_after_logout_no_token_of_the_family_refreshes(anonymous: httpx2.Client, tokens: dict[str, Any]) -> None:
    newer = _refresh(anonymous, tokens["refresh_token"]).json()["refresh_token"]
    answer = anonymous.post("/auth/logout", json={"refresh_token": newer})
    assert (answer.status_code, answer.content) == (204, b"")
    _assert_unauthorized(_refresh(anonymous, newer))


@ON_SQLITE
def test_a_refresh_token_is_not_an_access_token(anonymous: httpx2.Client, tokens: dict[str, Any]) -> None:
    answer = anonymous.get("/jobs", headers={"Authorization": f"Bearer {tokens['refresh_token']}"})
    assert_refused(answer, 401)


@ON_SQLITE
@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
def test_only_a_refresh_token_refreshes(anonymous: httpx2.Client, tokens: dict[str, Any], path: str) -> None:
    for wrong in (tokens["access_token"], "", "no token", tokens["refresh_token"][:-2]):
        body = _assert_unauthorized(anonymous.post(path, json={"refresh_token": wrong}))
        assert body["error"]["param"] == "refresh_token"


@ON_SQLITE
def test_a_ticket_is_not_an_access_token(client: Client) -> None:
    ticket = client.submit(model="demo?tokens=1")["stream_url"].partition("ticket=")[2]
    for method, path in (("GET", "/jobs"), ("POST", "/jobs"), ("POST", "/auth/refresh")):
        answer = client.http.request(method, path, headers={"Authorization": f"Bearer {ticket}"}, json={"refresh_token": ticket})
        assert answer.status_code == 401, (method, path)


@ON_SQLITE
def test_who_is_not_known_sends_little(anonymous: httpx2.Client) -> None:
    answer = anonymous.post("/auth/login", json={"username": "x" * 70_000, "password": "x"})
    assert_refused(answer, 413, param="body", code="too_large")


@pytest.fixture
def account(anonymous: httpx2.Client) -> Iterator[Account]:
    """A user's name and password, and a client of theirs."""
    credentials = _credentials()
    assert anonymous.post("/auth/register", json=credentials).status_code == 201
    token = anonymous.post("/auth/login", json=credentials).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=anonymous.base_url, headers=headers, verify=False, timeout=30) as mine:
        yield credentials, mine


def test_a_password_is_changed_and_ends_all_sessions(anonymous: httpx2.Client, account: Account) -> None:
    credentials, mine = account
    elsewhere = anonymous.post("/auth/login", json=credentials).json()
    change = {"password": "a wrong guess", "new_password": "another password"}
    assert_refused(mine.put("/account/password", json=change), 403, param="password", code="invalid_credentials")
    assert_refused(mine.put("/account/password", json={**change, "new_password": "short"}), 400, param="new_password")
    assert mine.put("/account/password", json={**change, "password": PASSWORD}).status_code == 204

    assert anonymous.post("/auth/refresh", json={"refresh_token": elsewhere["refresh_token"]}).status_code == 401
    assert anonymous.post("/auth/login", json=credentials).status_code == 401
    assert anonymous.post("/auth/login", json={**credentials, "password": "another password"}).status_code == 201


def test_sessions_are_listed_and_ended_one_by_one(anonymous: httpx2.Client, account: Account) -> None:
    credentials, mine = account
    first = mine.get("/account/sessions").json()["data"]
    other = anonymous.post("/auth/login", json=credentials).json()
    (ended,) = {each["id"] for each in mine.get("/account/sessions").json()["data"]} - {each["id"] for each in first}
    assert mine.delete(f"/account/sessions/{ended}").status_code == 204

    assert mine.get("/account/sessions").json()["data"] == first
    assert anonymous.post("/auth/refresh", json={"refresh_token": other["refresh_token"]}).status_code == 401
    assert_refused(mine.delete(f"/account/sessions/{ended}"), 404, param="session_id")


def test_nobody_sees_or_ends_anothers_session(client: Client, account: Account) -> None:
    _, mine = account
    (session,) = mine.get("/account/sessions").json()["data"]
    assert client.http.get("/account/sessions").json()["data"] == []
    assert_refused(client.http.delete(f"/account/sessions/{session['id']}"), 404, param="session_id")
    assert mine.get("/account/sessions").json()["data"] == [session]


def test_an_account_is_deleted_by_who_knows_its_password(anonymous: httpx2.Client, account: Account) -> None:
    credentials, mine = account
    assert_refused(
        mine.request("DELETE", "/account", json={"password": "a guess"}), 403, param="password", code="invalid_credentials"
    )
    assert mine.request("DELETE", "/account", json={"password": PASSWORD}).status_code == 204
    assert anonymous.post("/auth/login", json=credentials).status_code == 401
    assert mine.get("/jobs").status_code == 401
