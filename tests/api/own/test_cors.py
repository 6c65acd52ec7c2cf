"""Which browsers' pages may call: CORS by CORS_ORIGINS."""

from collections.abc import Iterator

import httpx2
import pytest

from dev.testing.client import Client
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment
from tests.api.refusals import assert_refused

pytestmark = ON_SQLITE

PAGE = "https://app.example"
OTHER_PAGE = "https://evil.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
}


def _open_to(deployment: Deployment, origins: str) -> str:
    deployment.stack.start_web(CORS_ORIGINS=origins)
    return deployment.stack.urls[-1]


@pytest.fixture(scope="module")
def browser(deployment: Deployment) -> Iterator[httpx2.Client]:
    """A browser, before an API process that two pages may call."""
    with httpx2.Client(base_url=_open_to(deployment, f"http://localhost:3000, {PAGE}")) as http:
        yield http


def _list(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
@pytest.mark.parametrize("path", ["/jobs", "/jobs/x/events", "/auth/login"])
def test_a_preflight_of_an_allowed_page_is_answered(browser: httpx2.Client, origin: str, path: str) -> None:
    answer = browser.options(path, headers={"Origin": origin, **PREFLIGHT})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == origin
    assert {"get", "post", "delete"} <= _list(answer.headers["access-control-allow-methods"])
    wanted = {"authorization", "content-type", "idempotency-key", "last-event-id", "prefer"}
    assert wanted <= _list(answer.headers["access-control-allow-headers"])
    assert "origin" in _list(answer.headers["vary"])


def test_openais_sdk_may_call_from_a_page(browser: httpx2.Client) -> None:
    sent = "authorization, content-type, x-stainless-lang, x-stainless-retry-count, openai-organization"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": f"{sent}, x-evil, x-stainless-bad header"}
    answer = browser.options("/v1/responses", headers={"Origin": PAGE, **asked})
    allowed = _list(answer.headers["access-control-allow-headers"])
    assert _list(sent) <= allowed
    assert not {"x-evil", "x-stainless-bad header"} & allowed
    assert {"x-should-retry", "retry-after-ms", "x-chatrelay-job-id"} <= _list(answer.headers["access-control-expose-headers"])


def test_a_preflight_of_another_page_allows_nothing(browser: httpx2.Client) -> None:
    answer = browser.options("/jobs", headers={"Origin": OTHER_PAGE, **PREFLIGHT})
    assert not [name for name in answer.headers if name.startswith("access-control-allow")]


def test_pages_of_a_dialect_that_lets_all_in_are_answered_by_it(browser: httpx2.Client) -> None:
    answer = browser.options("/api/ask", headers={"Origin": OTHER_PAGE, **PREFLIGHT})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"authorization", "content-type"} <= _list(answer.headers["access-control-allow-headers"])


def test_an_allowed_page_sees_answers_and_refusals(browser: httpx2.Client, client: Client) -> None:
    headers = {"Origin": PAGE, "Authorization": f"Bearer {client.token}"}
    answers = [
        browser.get("/jobs", headers=headers),
        browser.get("/jobs", headers={"Origin": PAGE}),
        browser.get("/x", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 404]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert {"x-request-id", "retry-after"} <= _list(answer.headers["access-control-expose-headers"])


def test_an_allowed_page_reads_streams(browser: httpx2.Client, client: Client) -> None:
    job = client.submit(model="demo?tokens=1&first_ms=0")
    answer = browser.get(f"/jobs/{job['id']}/events?{job['stream_url'].partition('?')[2]}", headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert b"event: completed" in answer.content


def test_another_page_is_told_nothing(browser: httpx2.Client, client: Client) -> None:
    answer = browser.get("/jobs", headers={"Origin": OTHER_PAGE, "Authorization": f"Bearer {client.token}"})
    assert "access-control-allow-origin" not in answer.headers


def test_every_page_may_be_allowed(deployment: Deployment) -> None:
    answer = httpx2.get(f"{_open_to(deployment, '*')}/healthz", headers={"Origin": OTHER_PAGE})
    assert answer.headers["access-control-allow-origin"] in ("*", OTHER_PAGE)


def test_without_the_setting_no_page_may_call(client: Client) -> None:
    answer = client.http.get("/jobs", headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in answer.headers
    assert_refused(httpx2.options(f"{client.url}/jobs", headers={"Origin": PAGE, **PREFLIGHT}), 401)
