"""Bodies that are compressed."""

import gzip
import io
import json

import pytest

from dev.testing.client import Client
from tests.api.conftest import ON_SQLITE

BODY = json.dumps({"model": "demo?tokens=2&gap_ms=0", "messages": [{"role": "user", "content": "Hello " * 1000}]}).encode()
JSON = {"Content-Type": "application/json"}
pytestmark = ON_SQLITE


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/jobs"])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_a_compressed_body_is_taken(client: Client, path: str, encoding: str) -> None:
    answer = client.http.post(path, content=gzip.compress(BODY), headers={**JSON, "Content-Encoding": encoding})
    assert answer.status_code in {200, 202}, answer.text


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_does_not_expand_beyond_the_limit(client: Client, *, chunked: bool) -> None:
    bomb = gzip.compress(b'{"input": "' + b"x" * 30_000_000 + b'"}')
    content = io.BytesIO(bomb) if chunked else bomb
    answer = client.http.post("/v1/responses", content=content, headers={**JSON, "Content-Encoding": "gzip"})
    assert (len(bomb) < 100_000, answer.status_code) == (True, 413), answer.text


@pytest.mark.parametrize(
    ("encoding", "content", "status", "param"),
    [
        ("br", BODY, 415, "Content-Encoding"),
        ("gzip", BODY, 400, "body"),
        ("gzip", gzip.compress(BODY)[:-20], 400, "body"),
        ("gzip, gzip", gzip.compress(BODY), 415, "Content-Encoding"),
    ],
)
def test_what_cannot_be_expanded_is_told(client: Client, encoding: str, content: bytes, status: int, param: str) -> None:
    answer = client.http.post("/v1/chat/completions", content=content, headers={**JSON, "Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
