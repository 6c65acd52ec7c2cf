"""Rates: failed logins per name and address, submissions per user."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from api.http.limits import NAMES_PER_ADDRESS
from dev.testing.client import PASSWORD, Client
from tests.api.conftest import MAX_PER_MINUTE, ON_SQLITE
from tests.api.deployment import Deployment
from tests.api.refusals import assert_limited, assert_refused

pytestmark = ON_SQLITE

GUESSERS = 12
QUICK = "demo?tokens=1&first_ms=0"


@pytest.fixture
def name(anonymous: httpx2.Client) -> str:
    """A registered user's name."""
    name = f"user-{secrets.token_hex(8)}"
    assert anonymous.post("/auth/register", json={"username": name, "password": PASSWORD}).status_code == 201
    return name


def _somewhere() -> str:
    return f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::{secrets.token_hex(2)}"


def _login(url: str, name: str, password: str, address: str) -> httpx2.Response:
    headers = {"X-Forwarded-For": address}
    return httpx2.post(
        f"{url}/auth/login", json={"username": name, "password": password}, headers=headers, verify=False, timeout=30
    )


def test_a_name_that_failed_too_often_from_an_address_must_wait(strict_url: str, name: str) -> None:
    # Given failures for one name from one network
    address = _somewhere()
    for host in range(MAX_PER_MINUTE):
        there = address.rpartition(":")[0] + f":{host}"
        assert _login(strict_url, name, "wrong password", there).status_code == 401

    # Then even the right password does not open from there, and its owner is not kept out elsewhere
    assert_limited(_login(strict_url, name, PASSWORD, address))
    assert _login(strict_url, name, PASSWORD, _somewhere()).status_code == 201


def test_an_unknown_name_is_limited_like_a_known_one(strict_url: str) -> None:
    nobody = f"user-{secrets.token_hex(8)}"
    address = _somewhere()
    for _ in range(MAX_PER_MINUTE):
        assert _login(strict_url, nobody, PASSWORD, address).status_code == 401
    assert_limited(_login(strict_url, nobody, PASSWORD, address))


def test_an_address_that_failed_too_often_must_wait(strict_url: str, name: str) -> None:
    # Given failures for all kinds of names from one address
    address = _somewhere()
    for _ in range(NAMES_PER_ADDRESS * MAX_PER_MINUTE):
        assert _login(strict_url, secrets.token_hex(8), "wrong password", address).status_code == 401

    # Then nobody can log in from there, but from elsewhere
    assert_limited(_login(strict_url, name, PASSWORD, address))
    assert _login(strict_url, name, PASSWORD, _somewhere()).status_code == 201


def test_guesses_at_the_same_moment_are_all_counted(strict_url: str, name: str) -> None:
    address = _somewhere()
    with ThreadPoolExecutor(GUESSERS) as threads:
        guesses = list(threads.map(lambda number: _login(strict_url, name, f"guess {number}", address), range(GUESSERS)))
    assert sorted(guess.status_code for guess in guesses) == [401] * MAX_PER_MINUTE + [429] * (GUESSERS - MAX_PER_MINUTE)


def test_logins_that_succeed_are_not_counted(strict_url: str, name: str) -> None:
    address = _somewhere()
    logins = [_login(strict_url, name, PASSWORD, address) for _ in range(MAX_PER_MINUTE + 1)]
    assert [login.status_code for login in logins] == [201] * (MAX_PER_MINUTE + 1)


@pytest.fixture
def eager(strict_url: str, client: Client) -> httpx2.Client:
    """A user who submits where little is allowed."""
    client.http.base_url = httpx2.URL(strict_url)
    return client.http


def _submit(http: httpx2.Client, **headers: Any) -> httpx2.Response:
    return http.post("/jobs", json={"message": "Hello", "model": QUICK}, headers=headers)


def test_who_submits_too_fast_must_wait(eager: httpx2.Client, deployment: Deployment) -> None:
    answers = [_submit(eager) for _ in range(MAX_PER_MINUTE)]
    assert [answer.status_code for answer in answers] == [202] * MAX_PER_MINUTE
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0"]
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {str(MAX_PER_MINUTE)}

    # Then the next is refused, and nothing of it is kept
    refused = _submit(eager)
    assert_limited(refused)
    assert refused.headers["ratelimit-remaining"] == "0"
    assert 1 <= int(refused.headers["ratelimit-reset"]) <= 60
    assert len(eager.get("/jobs").json()["data"]) == MAX_PER_MINUTE

    # And another user is not held up
    assert deployment.user().submit(model=QUICK)


def test_a_replay_is_not_limited(eager: httpx2.Client) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = _submit(eager, **key)
    answers = [_submit(eager, **key) for _ in range(MAX_PER_MINUTE + 1)]
    assert {answer.json()["id"] for answer in answers} == {first.json()["id"]}


def test_looking_is_not_limited(eager: httpx2.Client) -> None:
    job_id = _submit(eager).json()["id"]
    for _ in range(MAX_PER_MINUTE):
        assert eager.get(f"/jobs/{job_id}").status_code == 200
        assert eager.get("/jobs").status_code == 200
    assert _submit(eager).status_code == 202


def test_what_is_refused_for_its_words_is_not_counted(eager: httpx2.Client) -> None:
    for _ in range(MAX_PER_MINUTE + 1):
        assert_refused(eager.post("/jobs", json={"message": ""}), 400)
    assert _submit(eager).status_code == 202
