"""What our own API promises of every refusal: its status, and the one error envelope."""

from typing import Any

import httpx2

ANY = object()
"""Stands for a `param` that a test does not care about."""


def assert_refused(response: httpx2.Response, status: int, *, param: object = ANY, code: object = ANY) -> dict[str, Any]:
    """Check the status, our envelope and nothing besides, the request id, and that clients do not try again; return the error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert set(response.json()) == {"error"}, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["message"]
    assert error["code"]
    assert param is ANY or error["param"] == param, error
    assert code is ANY or error["code"] == code, error
    if status < 500 and status != 429:
        assert response.headers["x-should-retry"] == "false"
    return error


def assert_limited(response: httpx2.Response, code: str = "rate_limit_exceeded") -> None:
    """Check that a rate limit refused the request, and said when to come back."""
    error = assert_refused(response, 429, code=code)
    assert error["type"] == "rate_limit_error"
    assert 1 <= int(response.headers["retry-after"]) <= 60
