"""What our wire promises of every answer: the error envelope, and how server-sent events are framed."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson

FRAME = re.compile(rb"id: (\d+)\nevent: ([a-z]+)\ndata: (\{[^\n]*\})\Z")
HEARTBEAT = b": heartbeat"
ANY = object()
"""Stands for a `param` that a test does not care about."""


def assert_refused(response: httpx2.Response, status: int, *, param: object = ANY, code: object = ANY) -> dict[str, Any]:
    """A refusal has its status, our envelope and nothing else, a request id, and says that trying again is no use."""
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
    """Too much was asked, and when to come back is said."""
    error = assert_refused(response, 429, code=code)
    assert error["type"] == "rate_limit_error"
    assert 1 <= int(response.headers["retry-after"]) <= 60


@contextmanager
def listening(url: str, **request: Any) -> Iterator[Iterator[bytes]]:
    """Open a stream of events and give its blocks, one at a time, as they come."""
    with httpx2.stream("GET", url, timeout=30, verify=False, **request) as response:
        assert response.status_code == 200, response.read()
        yield _blocks(response)


def _blocks(response: httpx2.Response) -> Iterator[bytes]:
    rest = b""
    for chunk in response.iter_bytes():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        yield from blocks
    assert rest == b"", "the stream was cut in the middle of a block"


def event(block: bytes) -> dict[str, Any]:
    """Read a block that must be an event: id, type and one line of JSON that says the same."""
    found = FRAME.match(block)
    assert found, block
    fields: dict[str, Any] = orjson.loads(found[3])
    assert fields["seq"] == int(found[1])
    assert fields["type"] == found[2].decode()
    return fields


def told(blocks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Read the events among blocks, as they come."""
    return (event(block) for block in blocks if block != HEARTBEAT)


def events(url: str, **request: Any) -> list[dict[str, Any]]:
    """Read a stream to its end: the retry line, then events and heartbeats, and nothing else."""
    with listening(url, **request) as blocks:
        assert next(blocks) == b"retry: 500"
        return list(told(blocks))
