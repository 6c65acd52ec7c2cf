"""OpenAI's wire and what nobody should send: refused in the envelope, whatever it is, and never a 5xx. On both databases."""

from typing import Any

import pytest

from dev.testing.client import Client

QUICK = "demo?tokens=1&first_ms=0"
ODD: list[Any] = [None, True, -1, 1.5, 2**70, "", "\x00", "💬", [], {}, [None], [[]], [{}], {"a": None}, {"type": "message"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": QUICK, "messages": [{"role": "user", "content": "x"}]},
    "/v1/responses": {"model": QUICK, "input": "x"},
    "/v1/conversations": {"items": []},
    "/v1/moderations": {"input": "x"},
    "/v1/webhook_endpoints": {"name": "x", "url": "https://a.example", "event_types": ["response.completed"]},
}
MORE = {
    "/v1/chat/completions": ("stream_options", "metadata", "tools", "tool_choice", "response_format", "stop", "logit_bias"),
    "/v1/responses": ("conversation", "previous_response_id", "metadata", "tools", "tool_choice", "text", "reasoning", "include"),
    "/v1/conversations": ("metadata",),
    "/v1/moderations": ("model",),
    "/v1/webhook_endpoints": (),
}
FIELDS = [(path, field) for path, body in BODIES.items() for field in (*body, *MORE[path])]
PATHS = [
    *(("GET", f"/v1/responses/%s{rest}") for rest in ("", "?stream=true", "/input_items")),
    *(("GET", f"/v1/chat/completions/%s{rest}") for rest in ("", "/stream", "/messages")),
    *(("GET", f"/v1/{room}/%s") for room in ("conversations", "models", "webhook_endpoints")),
    *(("GET", path) for path in ("/v1/conversations/%s/items", "/v1/webhook_endpoints/%s/deliveries")),
    *(("DELETE", f"/v1/{room}/%s") for room in ("responses", "chat/completions", "conversations", "webhook_endpoints")),
    ("POST", "/v1/responses/%s/cancel"),
]


def assert_refused(answer: Any, *statuses: int) -> None:
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("path", "field"), FIELDS)
def test_an_odd_value_is_refused_or_harmless(client: Client, path: str, field: str) -> None:
    for value in ODD:
        answer = client.http.post(path, json={**BODIES[path], field: value})
        if answer.status_code == 404 and field == "model":  # one that the provider does not know
            assert answer.json()["error"]["code"] == "model_not_found"
        elif answer.status_code != 200:
            assert_refused(answer, 400, 404)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"a=b", b"\xff\xfe", b"[" * 100_000, b'{"input":' + b"[" * 500 + b"]" * 500 + b"}"]
)
def test_a_body_that_is_no_object_is_refused(client: Client, body: bytes) -> None:
    for path in BODIES:
        assert_refused(client.http.post(path, content=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_an_id_that_cannot_be_is_unknown(client: Client, method: str, path: str) -> None:
    for odd in ("x", "%00", "%ff", "💬", "a" * 2_000, "resp_%00", "chatcmpl-%00", "%27%20or%201=1--"):
        assert_refused(client.http.request(method, path.replace("%s", odd)), 404)


@pytest.mark.parametrize(
    "query", ["after=%00", "after=x", "limit=%00", "order=%00", "model=%00", "metadata[%00]=x", "metadata[a]=%00"]
)
def test_a_query_that_makes_no_sense_is_refused(client: Client, query: str) -> None:
    conversation = client.http.post("/v1/conversations", json={}).json()["id"]
    for path in ("/v1/chat/completions", f"/v1/conversations/{conversation}/items", "/v1/webhook_endpoints"):
        answer = client.http.get(f"{path}?{query}")
        assert_refused(answer, 400, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "a" * 300},
        {"Idempotency-Key": ""},
        *({"X-Stainless-Retry-Count": count} for count in ("-1", "x", "9" * 40)),
        *({"X-Stainless-Retry-Count": "1", "X-Stainless-Read-Timeout": seconds} for seconds in ("nan", "-5", "1e400", "x")),
    ],
)
def test_odd_headers_are_refused_or_harmless(client: Client, headers: dict[str, str]) -> None:
    answer = client.http.post("/v1/responses", json={"model": QUICK, "input": "x"}, headers=headers)
    if answer.status_code != 200:
        assert_refused(answer, 400)
