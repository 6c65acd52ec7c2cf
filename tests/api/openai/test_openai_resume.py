"""A background stream can be left at any event and taken up again: byte for byte what a stream was that nobody broke."""

import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson
import pytest
from openai import OpenAI

from dev.testing.client import Client, counted
from shared.redis import keyspace
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment
from tests.openai_reader import is_dense, text_of

TOKENS = 12
MODEL = f"demo?tokens={TOKENS}&first_ms=0&gap_ms=3"
SLOW = "demo?tokens=40&first_ms=100&gap_ms=20"
READERS = 50
HEARTBEAT = b": keep-alive\n"
DONE = b"data: [DONE]\n\n"
BEYOND = 1_000

pytestmark = ON_SQLITE


@contextmanager
def begun(client: Client, model: str = MODEL) -> Iterator[Iterator[bytes]]:
    """Create a background response that is streamed, and give its frames as they come."""
    body = {"model": model, "input": "Count.", "background": True, "stream": True}
    with client.http.stream("POST", "/v1/responses", json=body) as response:
        assert response.status_code == 200, response.read()
        yield frames(response)


def frames(response: httpx2.Response) -> Iterator[bytes]:
    """Cut a stream into its events, without heartbeats."""
    rest = b""
    for chunk in response.iter_bytes():
        *whole, rest = (rest + chunk).replace(HEARTBEAT, b"").split(b"\n\n")
        yield from (frame + b"\n\n" for frame in whole)
    assert rest == b"", "the stream was cut in the middle of an event"


def fields(frame: bytes) -> dict[str, Any]:
    """Read an event, whose name is its type."""
    name, _, data = frame.partition(b"\n")
    event: dict[str, Any] = orjson.loads(data.removeprefix(b"data: "))
    assert name == b"event: " + event["type"].encode()
    return event


def rest(client: Client, response_id: str, **query: Any) -> list[bytes]:
    """Read a response's stream to its end, after a number or from the start."""
    with client.http.stream("GET", f"/v1/responses/{response_id}", params={"stream": "true", **query}) as response:
        assert response.status_code == 200, response.read()
        return list(frames(response))


def broken_at(client: Client, count: int) -> tuple[str, list[bytes]]:
    """Create a response, and hang up after so many events."""
    with begun(client) as stream:
        seen = [next(stream) for _ in range(count)]
    return fields(seen[0])["response"]["id"], seen


def test_a_stream_that_is_broken_at_every_event_goes_on_byte_for_byte(client: Client) -> None:
    with begun(client) as stream:
        length = len(list(stream))
    for count in range(1, length):  # the last frame is [DONE]
        response_id, seen = broken_at(client, count)
        resumed = seen + rest(client, response_id, starting_after=count - 1)
        assert resumed == rest(client, response_id), count
        assert resumed[-1] == DONE
        events = [fields(frame) for frame in resumed[:-1]]
        assert is_dense(events)
        assert text_of(events[-1]["response"]) == counted(TOKENS)
        assert len(resumed) == length


def test_a_stream_that_is_broken_twice_goes_on(client: Client) -> None:
    response_id, seen = broken_at(client, 4)
    with client.http.stream("GET", f"/v1/responses/{response_id}", params={"stream": "true", "starting_after": 3}) as response:
        again = frames(response)
        seen += [next(again) for _ in range(5)]
    assert seen + rest(client, response_id, starting_after=8) == rest(client, response_id)


def test_where_a_reader_may_come_in(client: Client, api: OpenAI) -> None:
    # Given a response that is over
    with begun(client) as stream:
        whole = list(stream)
    response_id = fields(whole[0])["response"]["id"]

    # Then it is sent from the start, after any number, and after the last one there is only the end
    assert rest(client, response_id) == rest(client, response_id, starting_after=-1) == whole
    assert rest(client, response_id, starting_after=0) == whole[1:]
    assert rest(client, response_id, starting_after=len(whole) - 2) == [DONE]
    assert rest(client, response_id, starting_after=BEYOND) == [DONE]
    late = [event.to_dict() for event in api.responses.retrieve(response_id, stream=True, starting_after=3)]
    assert late == [fields(frame) for frame in whole[4:-1]]


def test_a_response_is_told_when_redis_has_forgotten_it(client: Client, deployment: Deployment) -> None:
    with begun(client) as stream:
        whole = list(stream)
    response_id = fields(whole[0])["response"]["id"]
    deployment.redis.client.delete(keyspace.log_key(response_id.replace("resp_", "job_")))
    assert rest(client, response_id) == whole


@pytest.mark.parametrize("number", ["-2", "x", "1.5", "9" * 30])
def test_a_number_that_is_none_is_refused_by_name(client: Client, number: str) -> None:
    response_id, _ = broken_at(client, 1)
    answer = client.http.get(f"/v1/responses/{response_id}", params={"stream": "true", "starting_after": number})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "starting_after")


def test_fifty_readers_that_join_at_random_see_the_same_bytes(client: Client) -> None:
    chance = random.Random(50)
    with begun(client, SLOW) as stream, ThreadPoolExecutor(READERS) as threads:
        whole = [next(stream)]
        response_id = fields(whole[0])["response"]["id"]
        readers: list[Future[list[bytes]]] = []
        for frame in stream:
            whole.append(frame)
            if chance.random() < 0.8 and len(readers) < READERS:
                readers.append(threads.submit(rest, client, response_id))
        readers += [threads.submit(rest, client, response_id) for _ in range(READERS - len(readers))]
        assert len(readers) == READERS
        assert all(reader.result() == whole for reader in readers)
    assert text_of(fields(whole[-2])["response"]) == counted(40)


def test_the_helper_comes_back_to_a_response(api: OpenAI) -> None:
    first = api.responses.create(model=MODEL, input="Count.", background=True)
    for number in (None, 4):
        more: dict[str, Any] = {} if number is None else {"starting_after": number}
        with api.responses.stream(response_id=first.id, **more) as stream:
            seen = [event.sequence_number for event in stream]
            assert stream.get_final_response().output_text == counted(TOKENS)
        assert seen[0] == (0 if number is None else number + 1)


def test_heartbeats_do_not_break_the_sdk(api: OpenAI) -> None:
    stream = api.responses.create(model="demo?tokens=2&first_ms=2500&gap_ms=0", input="Count.", background=True, stream=True)
    assert is_dense([event.to_dict() for event in stream])
