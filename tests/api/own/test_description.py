"""`/openapi.json` and `/docs`: what the code says of itself, and a page that shows it without the internet."""

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from tests.api.conftest import ON_SQLITE

pytestmark = ON_SQLITE

ROUTES = {
    ("post", "/auth/register"),
    ("post", "/auth/login"),
    ("post", "/auth/refresh"),
    ("post", "/auth/logout"),
    ("post", "/jobs"),
    ("get", "/jobs"),
    ("get", "/jobs/{job_id}"),
    ("delete", "/jobs/{job_id}"),
    ("get", "/jobs/{job_id}/events"),
    ("post", "/jobs/{job_id}/cancel"),
    ("get", "/healthz"),
    ("get", "/readyz"),
}
LINK = re.compile(r"""(?:src|href)\s*=\s*["']\s*([^"'\s]+)""")
LOADED = re.compile(r"""(?:url\(|@import\s+|fetch\(|import\()\s*["']?((?:https?:)?//[^"')\s]+)""")


@pytest.fixture
def described(anonymous: httpx2.Client) -> dict[str, Any]:
    """The description."""
    answer = anonymous.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    description: dict[str, Any] = answer.json()
    return description


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def test_it_describes_every_route(described: dict[str, Any]) -> None:
    assert described["openapi"] == "3.1.0"
    assert described["servers"] == [{"url": "/"}]
    assert described["info"]["title"] == "Chatrelay"
    assert {(method, path) for path, methods in described["paths"].items() for method in methods} >= ROUTES


def test_each_route_says_what_it_is_and_answers(described: dict[str, Any]) -> None:
    for method, path in ROUTES:
        operation = described["paths"][path][method]
        assert operation["summary"]
        assert any(status.startswith("2") for status in operation["responses"])
        inside = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert inside == set(re.findall(r"{(\w+)}", path))


def test_no_reference_leads_nowhere(described: dict[str, Any]) -> None:
    schemas = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert _references(described)
    assert _references(described) <= schemas


def test_a_submission_is_described(described: dict[str, Any]) -> None:
    operation = described["paths"]["/jobs"]["post"]
    wanted = operation["requestBody"]["content"]["application/json"]["schema"]
    assert wanted == {"$ref": "#/components/schemas/JobRequest"}
    fields = described["components"]["schemas"]["JobRequest"]["properties"]
    assert {"message", "messages", "conversation_id", "model", "system", "metadata", "on_interrupt", "temperature"} <= set(fields)
    assert {"202", "400", "401", "404", "409", "413", "429", "503"} <= set(operation["responses"])
    assert operation["security"] == [{"bearer": []}]
    assert {"bearer", "ticket"} <= set(described["components"]["securitySchemes"])


def test_a_stream_is_described_as_one(described: dict[str, Any]) -> None:
    operation = described["paths"]["/jobs/{job_id}/events"]["get"]
    assert "text/event-stream" in operation["responses"]["200"]["content"]
    assert {"bearer", "ticket"} == {name for choice in operation["security"] for name in choice}


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_the_page_needs_no_internet(anonymous: httpx2.Client, path: str) -> None:
    # Given the page, and all that it loads
    page = anonymous.get(path, follow_redirects=True)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    links = [urljoin(str(page.url), link) for link in LINK.findall(page.text) if not link.startswith("data:")]
    assert links

    # Then all of it comes from here, and is there
    for link in links:
        assert urlsplit(link).netloc == urlsplit(str(page.url)).netloc, link
        assert anonymous.get(link).status_code == 200, link
    for text in (page.text, *(anonymous.get(link).text for link in links if link.endswith(".css"))):
        assert not LOADED.findall(text)


def test_the_page_shows_our_description(anonymous: httpx2.Client, described: dict[str, Any]) -> None:
    page = anonymous.get("/docs", follow_redirects=True)
    found = re.search(r'new URL\("([^"]+)"', page.text)
    assert found
    shown = anonymous.get(urljoin(str(page.url), found[1]))
    assert {**shown.json(), "servers": described["servers"]} == described


def test_the_page_is_found_behind_a_proxys_prefix(strict_url: str) -> None:
    answer = httpx2.get(f"{strict_url}/docs", headers={"X-Forwarded-Prefix": "/chat"})
    assert urlsplit(answer.headers["location"]).path == "/chat/docs/swagger"


def test_private_answers_are_not_cached_and_pages_not_framed(anonymous: httpx2.Client) -> None:
    private = anonymous.get("/jobs", headers={"Authorization": "Bearer x"}).headers
    assert (private["cache-control"], private["x-content-type-options"]) == ("no-store", "nosniff")
    page = anonymous.get("/docs", follow_redirects=True).headers
    assert page["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in page["content-security-policy"]
    assert page["referrer-policy"] == "no-referrer"
