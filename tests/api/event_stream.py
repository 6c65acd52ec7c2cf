"""Read our own API's event streams, and check how server-sent events are framed."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson

FRAME = re.compile(rb"id: (\d+)\nevent: ([a-z]+)\ndata: (\{[^\n]*\})\Z")
HEARTBEAT = b": heartbeat"


@contextmanager
def open_stream(url: str, **request: Any) -> Iterator[Iterator[bytes]]:
    """Open a stream of events, and yield its blocks, one at a time, as they come: events, and lines that belong to none."""
    with httpx2.stream("GET", url, timeout=30, verify=False, **request) as response:
        assert response.status_code == 200, response.read()
        yield _blocks(response)


def _blocks(response: httpx2.Response) -> Iterator[bytes]:
    rest, block = b"", list[bytes]()
    for chunk in response.iter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith((b":", b"retry: ")):
                yield line
            elif line:
                block.append(line)
            else:
                assert block, "an empty line ends no event: some clients take it for one without data"
                yield b"\n".join(block)
                block = []
    assert (rest, block) == (b"", []), "the stream was cut in the middle of a block"


def event(block: bytes) -> dict[str, Any]:
    """Return the fields of a block that must be an event: id, type and one line of JSON that says the same."""
    found = FRAME.match(block)
    assert found, block
    fields: dict[str, Any] = orjson.loads(found[3])
    assert fields["seq"] == int(found[1])
    assert fields["type"] == found[2].decode()
    return fields


def events_of(blocks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events among blocks, as they come."""
    return (event(block) for block in blocks if block != HEARTBEAT)


def events(url: str, **request: Any) -> list[dict[str, Any]]:
    """Return the events of a whole stream, which must have the retry line, then events and heartbeats, and nothing else."""
    with open_stream(url, **request) as blocks:
        assert next(blocks) == b"retry: 500"
        return list(events_of(blocks))
