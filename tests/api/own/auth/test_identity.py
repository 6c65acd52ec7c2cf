"""Who may do what: access tokens, stream tickets, other people's jobs, and paths that are not there."""

import time
from typing import Any

import httpx2
import jwt
import pytest

from dev.testing.client import Client
from tests.api.deployment import Deployment
from tests.api.event_stream import events
from tests.api.refusals import assert_refused
from tests.api.tokens import access_token, ticket

ANOTHER_KEY = "a-secret-key-of-somebody-else-0123456789"
UNKNOWN = "job_" + "0" * 32
LONG_AGO: dict[str, Any] = {"iat": 1, "nbf": 1, "exp": 2}

BAD_HEADERS = {
    "none": None,
    "empty": "",
    "the scheme alone": "Bearer",
    "no token": "Bearer nothing",
    "no latin": "Bearer é".encode(),
    "another scheme": f"Basic {access_token('user_1')}",
    "no scheme": access_token("user_1"),
    "two tokens": f"Bearer {access_token('user_1')} {access_token('user_1')}",
    "another secret": f"Bearer {access_token('user_1', key=ANOTHER_KEY)}",
    "no signature": f"Bearer {access_token('user_1', key='', algorithm=None)}",
    "expired": f"Bearer {access_token('user_1', **LONG_AGO)}",
    "not valid yet": f"Bearer {access_token('user_1', nbf=int(time.time()) + 86_400)}",
    "a refresh token": f"Bearer {access_token('user_1', type='refresh')}",
    "a ticket": f"Bearer {ticket('user_1', UNKNOWN)}",
    "nobody": f"Bearer {access_token('user_1', sub=None)}",
    "a user that is a number": f"Bearer {access_token('user_1', sub=5)}",
}

ENDPOINTS = [
    ("POST", "/jobs"),
    ("GET", "/jobs"),
    ("GET", f"/jobs/{UNKNOWN}"),
    ("GET", f"/jobs/{UNKNOWN}/events"),
    ("POST", f"/jobs/{UNKNOWN}/cancel"),
    ("DELETE", f"/jobs/{UNKNOWN}"),
]
JOB_ENDPOINTS = [(method, path.replace(UNKNOWN, "%s")) for method, path in ENDPOINTS if UNKNOWN in path]


@pytest.fixture
def stranger(deployment: Deployment) -> Client:
    """Somebody else."""
    return deployment.user()


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_bad_token_opens_nothing(anonymous: httpx2.Client, header: str | bytes | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = anonymous.get("/jobs", headers=headers)  # type: ignore[arg-type]  # bytes too
    assert_refused(answer, 401, code="unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_every_endpoint_needs_a_token(anonymous: httpx2.Client, method: str, path: str) -> None:
    assert_refused(anonymous.request(method, path), 401)
    assert_refused(anonymous.request(method, path, headers={"Authorization": "Bearer nothing"}), 401)


def test_the_scheme_is_read_in_any_case(client: Client) -> None:
    assert client.http.get("/jobs", headers={"Authorization": f"bEARER  {client.token}"}).status_code == 200


def test_the_token_of_an_account_that_is_gone_opens_nothing(anonymous: httpx2.Client) -> None:
    headers = {"Authorization": f"Bearer {access_token('user_gone')}"}
    assert_refused(anonymous.post("/jobs", json={"message": "Hello"}, headers=headers), 401)
    for method, path in (("GET", "/jobs"), ("POST", "/auth/tokens"), ("POST", "/v1/conversations"), ("GET", "/chat/sessions")):
        assert anonymous.request(method, path, headers=headers, json={}).status_code == 401


def test_a_ticket_reads_its_job_without_any_header(client: Client, anonymous: httpx2.Client) -> None:
    job = client.submit(model="demo?tokens=1&first_ms=0")
    assert events(job["stream_url"])[-1]["type"] == "completed"


def test_a_ticket_opens_nothing_but_its_jobs_events(client: Client, anonymous: httpx2.Client) -> None:
    job = client.submit(model="demo?tokens=1&first_ms=0")
    query = job["stream_url"].partition("?")[2]
    for method, path in [("GET", "/jobs"), *((method, path % job["id"]) for method, path in JOB_ENDPOINTS)]:
        if not path.endswith("/events"):
            assert_refused(anonymous.request(method, f"{path}?{query}"), 401)


def test_a_ticket_for_another_job_is_refused(client: Client, anonymous: httpx2.Client) -> None:
    one, other = (client.submit(model="demo?tokens=1&first_ms=0") for _ in range(2))
    query = one["stream_url"].partition("?")[2]
    assert_refused(anonymous.get(f"/jobs/{other['id']}/events?{query}"), 401, param="ticket")


def test_a_ticket_is_only_worth_its_makers_rights(client: Client, stranger: Client) -> None:
    job = client.submit(model="demo?tokens=1&first_ms=0")
    forged = ticket("user_" + "0" * 32, job["id"])  # signed well, for somebody whose job it is not
    assert_refused(stranger.http.get(f"/jobs/{job['id']}/events", params={"ticket": forged}), 404)


@pytest.mark.parametrize(
    ("key", "claims"),
    [
        (None, {}),
        ("", {}),
        (ANOTHER_KEY, {}),
        ("ours", LONG_AGO),
        ("ours", {"use": None}),
        ("ours", {"use": "something else"}),
        ("ours", {"job": None}),
        ("ours", {"sub": None}),
    ],
    ids=["no token", "empty", "another secret", "expired", "an access token", "another use", "no job", "nobody"],
)
def test_a_bad_ticket_is_refused_even_beside_a_good_token(client: Client, key: str | None, claims: dict[str, Any]) -> None:
    job = client.submit(model="demo?tokens=1&first_ms=0")
    given = "nothing" if key is None else key and ticket("user_1", job["id"], **({} if key == "ours" else {"key": key}), **claims)
    assert_refused(client.http.get(f"/jobs/{job['id']}/events", params={"ticket": given}), 401, param="ticket")


@pytest.mark.parametrize(("method", "path"), JOB_ENDPOINTS)
def test_a_foreign_job_is_as_unknown_as_one_that_never_was(client: Client, stranger: Client, method: str, path: str) -> None:
    # Given somebody's job
    job = client.submit(model="demo?tokens=2&first_ms=0")
    before = client.finished(job["id"])

    # When a stranger asks for it, then the answer is the same as for a job that does not exist
    foreign, unknown = (stranger.http.request(method, path % job_id) for job_id in (job["id"], UNKNOWN))
    assert_refused(foreign, 404, param="job_id", code="not_found")
    assert foreign.content == unknown.content
    assert set(foreign.headers) == set(unknown.headers)

    # And the job is as it was
    assert client.job(job["id"]) == before


@pytest.mark.parametrize(("method", "path"), JOB_ENDPOINTS)
@pytest.mark.parametrize("job_id", ["x", "%00", "job_%00", "%ff", "%ED%A0%80", "💬", "a" * 2000, "1%27%20or%201=1--"])
def test_an_id_that_cannot_be_is_unknown(client: Client, method: str, path: str, job_id: str) -> None:
    assert_refused(client.http.request(method, path.replace("%s", job_id)), 404, param="job_id")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/jobs/x/y"), ("DELETE", "/auth/login/x")])
def test_an_unknown_path_is_refused_in_our_envelope(anonymous: httpx2.Client, method: str, path: str) -> None:
    assert_refused(anonymous.request(method, path), 404, code="not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs", {"GET", "POST"}),
        ("PATCH", "/jobs/x", {"GET", "DELETE"}),
        ("GET", "/auth/login", {"POST"}),
        ("TRACE", "/healthz", {"GET"}),
    ],
)
def test_a_wrong_method_is_refused_in_our_envelope(anonymous: httpx2.Client, method: str, path: str, allowed: set[str]) -> None:
    answer = anonymous.request(method, path)
    assert_refused(answer, 405)
    assert {name.strip() for name in answer.headers["allow"].split(",")} - {"HEAD", "OPTIONS"} == allowed


def test_a_slash_at_the_end_does_not_matter(client: Client) -> None:
    assert client.http.get("/jobs/").status_code == 200
    assert client.http.post("/jobs/", json={"message": "Hello"}).status_code == 202


@pytest.mark.parametrize("seconds", [5, -5])
def test_a_host_whose_clock_differs_by_seconds_is_understood(deployment: Deployment, seconds: int) -> None:
    stranger, now = deployment.user(), int(time.time())
    subject = jwt.decode(stranger.token, options={"verify_signature": False})["sub"]
    issued = now + seconds if seconds > 0 else now - 900
    token = access_token(subject, iat=issued, nbf=issued, exp=now + (900 if seconds > 0 else seconds))

    assert stranger.http.get("/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
