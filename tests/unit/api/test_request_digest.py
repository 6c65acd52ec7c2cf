"""What tells two requests apart under one idempotency key: what their clients sent, and nothing that we make of it."""

from typing import Any

import pytest
from flask import Flask

from api.http.request_digest import request_digest
from api.jobs.idempotency import VERSION, Retry, key_of
from shared.models.job import HASH_CHARS

BODY = b'{"message": "Hello", "metadata": {"a": "1", "b": "2"}}'
JSON = {"content_type": "application/json"}


def digest(path: str = "/jobs", **request: Any) -> str:
    with Flask(__name__).test_request_context(path, method="POST", **request):
        return request_digest()


def test_names_in_another_order_and_white_space_make_no_difference() -> None:
    assert digest(data=BODY, **JSON) == digest(data=b'{"metadata":{"b":"2","a":"1"},\n"message":"Hello"}', **JSON)


def test_fields_of_a_form_in_another_order_make_no_difference() -> None:
    assert digest(data={"a": "1", "b": "2"}) == digest(data={"b": "2", "a": "1"})


@pytest.mark.parametrize(
    "other",
    [
        {"data": BODY.replace(b"Hello", b"Goodbye"), **JSON},
        {"data": BODY.replace(b'"1"', b'"2"'), **JSON},
        {"data": BODY.replace(b"}}", b'}, "stream": false}'), **JSON},
        {"path": "/v1/chat/completions", "data": BODY, **JSON},
        {"data": {"message": "Hello"}},
    ],
)
def test_another_body_or_path_is_another_request(other: dict[str, Any]) -> None:
    assert digest(data=BODY, **JSON) != digest(**other)


@pytest.mark.parametrize("body", [b'"\\ud800"', b"1" * 400, b"[" * 500 + b"]" * 500, b"", b"\xff\xfe", b"{"])
def test_odd_bodies_have_a_digest_too(body: bytes) -> None:
    assert len(digest(data=body, **JSON)) == 64


def test_a_digest_names_the_version_of_the_way_it_is_made() -> None:
    key = key_of("a key", lambda: "f" * 64)

    assert key is not None
    assert key.digest.startswith(VERSION)
    assert len(key.digest) == HASH_CHARS


def test_no_digest_is_made_where_none_is_needed() -> None:
    assert key_of(None, lambda: pytest.fail("asked for")) is None
    assert key_of(None, lambda: "f" * 64, Retry(1, 600)) is not None
