"""What a submission may not hold: refused by the name of the field, with nothing stored and no doorbell sent."""

import http.client
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from dev.testing.client import Client
from tests.api.conftest import MAX_CHARS
from tests.api.deployment import Deployment
from tests.api.refusals import assert_refused

MEGABYTE = 1_000_000
NUL = rb"\u0000"
SURROGATE = rb"\ud800"


def _with(**fields: Any) -> bytes:
    return orjson.dumps({"message": "Hello", **fields})


def _raw(fields: bytes) -> bytes:
    """What a JSON library would not write."""
    return b'{"message": "Hello", %s}' % fields


def _messages(*messages: Any) -> bytes:
    return orjson.dumps({"messages": messages})


def _tool(parameters: bytes) -> bytes:
    return b'"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": [%s]}}}]' % parameters


def _nested(depth: int) -> bytes:
    return b'"response_format": ' + b'{"a":' * depth + b"1" + b"}" * depth


IN_A_TOOL = "tools.0.function.parameters.a.0"

NO_OBJECT = {
    "no body": b"",
    "broken JSON": b'{"message": "Hello"',
    "two values": b'{"message": "Hello"} {}',
    "a list": b'[{"message": "Hello"}]',
    "a string": b'"Hello"',
    "a string that is JSON": orjson.dumps('{"message": "Hello"}'),
    "null": b"null",
    "a number": b"1",
    "no UTF-8": b'{"message": "\xff"}',
    "100,000 open brackets": b"[" * 100_000,
    "an integer of 5,000 digits": _raw(b'"seed": ' + b"9" * 5000),
}

WRONG = {
    "neither message nor messages": (b"{}", "message"),
    "message and messages": (_with(messages=[{"role": "user", "content": "Hello"}]), "message"),
    "an empty message": (_with(message=""), "message"),
    "a message that is a number": (_with(message=1), "message"),
    "a message that is a list": (_with(message=["Hello"]), "message"),
    "a message that is too long": (_with(message="x" * (MAX_CHARS + 1)), "message"),
    "a system prompt that is too long": (_with(system="x" * (MAX_CHARS + 1)), "system"),
    "an unknown field": (_with(mood="good"), "mood"),
    "n": (_with(n=2), "n"),
    "stream": (_with(stream=True), "stream"),
    "a model that is too long": (_with(model="m" * 256), "model"),
    "an empty model": (_with(model=""), "model"),
    "a conversation that is a number": (_with(conversation_id=5), "conversation_id"),
    "a conversation for a whole context": (
        orjson.dumps({"messages": [{"role": "user", "content": "Hello"}], "conversation_id": "conv_1"}),
        "conversation_id",
    ),
    "an on_interrupt of no kind": (_with(on_interrupt="explode"), "on_interrupt"),
    # Numbers
    "too hot": (_with(temperature=99), "temperature"),
    "a temperature in quotes": (_with(temperature="1"), "temperature"),
    "a temperature that is true": (_with(temperature=True), "temperature"),
    "no tokens": (_with(max_tokens=0), "max_tokens"),
    "half a token": (_with(max_tokens=1.5), "max_tokens"),
    "a flag in words": (_with(parallel_tool_calls="yes"), "parallel_tool_calls"),
    "NaN": (_raw(b'"temperature": NaN'), "temperature"),
    "Infinity": (_raw(b'"top_p": -Infinity'), "top_p"),
    "a float beyond all floats": (_raw(b'"temperature": 1e999'), "temperature"),
    "NaN in a dictionary": (_raw(b'"logit_bias": {"5": NaN}'), "logit_bias.5"),
    "NaN in a tool": (_raw(_tool(b"NaN")), IN_A_TOOL),
    "Infinity in a response format": (_raw(b'"response_format": {"a": 1e999}'), "response_format.a"),
    "an integer of 30 digits": (_raw(b'"seed": ' + b"9" * 30), "seed"),
    "an integer of 400 digits in a tool": (_raw(_tool(b"9" * 400)), IN_A_TOOL),
    # Text that no database holds
    "a NUL": (_raw(b'"system": "a%sb"' % NUL), "system"),
    "a lone surrogate": (_raw(b'"system": "a%sb"' % SURROGATE), "system"),
    "a NUL in the model": (_raw(b'"model": "%s"' % NUL), "model"),
    "a NUL in the metadata": (_raw(b'"metadata": {"a": "%s"}' % NUL), "metadata.a"),
    "a surrogate in the metadata": (_raw(b'"metadata": {"a": "%s"}' % SURROGATE), "metadata.a"),
    "a NUL as a key": (_raw(b'"metadata": {"%s": "a"}' % NUL), "metadata.key"),
    "a surrogate as a key": (_raw(b'"metadata": {"%s": "a"}' % SURROGATE), "metadata.key"),
    "a surrogate as a field": (_raw(b'"%s": "a"' % SURROGATE), "key"),
    "a NUL in a tool": (_raw(_tool(b'"%s"' % NUL)), IN_A_TOOL),
    "a surrogate as a key in a tool": (_raw(_tool(b'{"%s": 1}' % SURROGATE)), IN_A_TOOL + ".key"),
    "a NUL in a part": (
        b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "%s"}]}]}' % NUL,
        "messages.0.content.0.text",
    ),
    # Nesting
    "101 deep": (_raw(_nested(101)), "response_format"),
    "300 deep": (_raw(_nested(300)), "response_format"),
    "900 deep": (_raw(_nested(900)), "response_format"),
    # Metadata
    "17 pairs of metadata": (_with(metadata={str(number): "a" for number in range(17)}), "metadata"),
    "metadata that is a number": (_with(metadata={"a": 1}), "metadata.a"),
    "metadata that is nested": (_with(metadata={"a": {"b": "c"}}), "metadata.a"),
    "a long value of metadata": (_with(metadata={"a": "b" * 513}), "metadata.a"),
    "a list of metadata": (_with(metadata=["a"]), "metadata"),
    # Messages
    "no messages": (_messages(), "messages"),
    "messages that are a string": (orjson.dumps({"messages": "Hello"}), "messages"),
    "a message of a robot": (_messages({"role": "robot", "content": "Hello"}), "messages.0.role"),
    "a message of nobody": (_messages({"content": "Hello"}), "messages.0.role"),
    "a message that says nothing": (_messages({"role": "user"}), "messages.0"),
    "a message without parts": (_messages({"role": "user", "content": []}), "messages.0"),
    "a content that is a number": (_messages({"role": "user", "content": 1}), "messages.0.content"),
    "a part of no kind": (_messages({"role": "user", "content": [{"type": "smell"}]}), "messages.0.content.0.type"),
    "a text part without text": (_messages({"role": "user", "content": [{"type": "text"}]}), "messages.0.content.0.text"),
    "an image without a URL": (
        _messages({"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}),
        "messages.0.content.0.image_url.url",
    ),
    "a tool's message for no call": (_messages({"role": "tool", "content": "4"}), "messages.0"),
    "an unknown field in a message": (_messages({"role": "user", "content": "Hello", "mood": 1}), "messages.0.mood"),
    "the second of two messages too long": (
        _messages({"role": "user", "content": "Hello"}, {"role": "user", "content": "x" * (MAX_CHARS + 1)}),
        "messages.1.content",
    ),
    # Tools
    "a tool of no kind": (_with(tools=[{"type": "hammer", "function": {"name": "f"}}]), "tools.0.type"),
    "a tool without a name": (_with(tools=[{"type": "function", "function": {}}]), "tools.0.function.name"),
    "a tool's name with a blank": (_with(tools=[{"type": "function", "function": {"name": "a b"}}]), "tools.0.function.name"),
    "a tool choice of no kind": (_with(tool_choice="perhaps"), "tool_choice"),
    "a choice of a tool that is not there": (_with(tool_choice={"type": "function", "function": {"name": "f"}}), "tool_choice"),
    "a call that is required without tools": (_with(tool_choice="required"), "tool_choice"),
    "a format that is none": (_with(response_format={"type": "grammar"}), "response_format.type"),
    "a format without its schema": (_with(response_format={"type": "json_schema"}), "response_format"),
    "five stops": (_with(stop=list("abcde")), "stop"),
}


@pytest.fixture(scope="module")
def careless(idle_deployment: Deployment) -> Iterator[Client]:
    """One user for all that is refused. When all of it was, the queue holds no more than before."""
    before = idle_deployment.traces()
    yield idle_deployment.user()
    assert idle_deployment.traces() == before


@pytest.fixture(autouse=True)
def nothing_happens(idle_deployment: Deployment, careless: Client) -> Iterator[None]:
    """After whatever a test sends, no row is there that was not there before, and no job can be seen."""
    before = idle_deployment.rows()
    yield
    assert idle_deployment.rows() == before
    assert careless.http.get("/jobs").json()["data"] == []


def _headers() -> dict[str, str]:
    """A key goes along, since it too looks at the body."""
    return {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(8)}


@pytest.mark.parametrize("body", NO_OBJECT.values(), ids=NO_OBJECT)
def test_a_body_must_be_a_json_object(careless: Client, body: bytes) -> None:
    assert_refused(careless.http.post("/jobs", content=body, headers=_headers()), 400, param="body")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_must_say_that_it_is_json(careless: Client, kind: str) -> None:
    answer = careless.http.post("/jobs", content=b'{"message": "Hello"}', headers={"Content-Type": kind})
    assert "application/json" in assert_refused(answer, 400, param="body")["message"]


@pytest.mark.parametrize(("body", "param"), WRONG.values(), ids=WRONG)
def test_a_wrong_field_is_named(careless: Client, body: bytes, param: str) -> None:
    assert_refused(careless.http.post("/jobs", content=body, headers=_headers()), 400, param=param)


def test_a_list_that_is_too_long_is_told_as_that_where_a_text_would_do(careless: Client) -> None:
    answer = careless.http.post("/jobs", content=_with(stop=list("abcde")), headers=_headers())
    assert "at most 4 items" in assert_refused(answer, 400, param="stop")["message"]


@pytest.mark.parametrize("field", ["mood", "n", "stream"])
def test_what_cannot_be_honoured_is_refused_by_name(careless: Client, field: str) -> None:
    answer = careless.http.post("/jobs", content=_with(**{field: 2}), headers=_headers())
    assert field in assert_refused(answer, 400, param=field, code="unknown_parameter")["message"]


def test_a_large_body_is_refused_so_that_its_sender_sees_it(careless: Client) -> None:
    body = _with(message="x" * 30 * MEGABYTE)
    assert_refused(careless.http.post("/jobs", content=body, headers=_headers()), 413, param="body", code="too_large")


def test_a_sender_who_hangs_up_afterwards_sees_the_refusal_too(careless: Client) -> None:
    # Given a sender that reads nothing before it has sent all, on a connection that nobody reads on after the answer
    address = urlsplit(careless.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    body = _with(message="x" * 30 * MEGABYTE)
    headers = {**_headers(), "Authorization": f"Bearer {careless.token}", "Connection": "close"}
    connection.request("POST", "/jobs", body, headers)
    answer = connection.getresponse()
    assert answer.status == 413
    assert orjson.loads(answer.read())["error"]["code"] == "too_large"
    connection.close()


def test_a_large_body_in_chunks_is_refused_alike(careless: Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"message": "'
        for _ in range(30):
            yield b"x" * MEGABYTE
        yield b'"}'

    answer = careless.http.post("/jobs", content=chunks(), headers=_headers())
    assert_refused(answer, 413, param="body", code="too_large")


def test_a_large_body_of_a_stranger_is_refused_for_that(careless: Client) -> None:
    headers = {**_headers(), "Authorization": "Bearer nothing"}
    assert_refused(careless.http.post("/jobs", content=_with(message="x" * 30 * MEGABYTE), headers=headers), 401)


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_has_bounds(careless: Client, key: str) -> None:
    answer = careless.http.post("/jobs", json={"message": "Hello"}, headers={"Idempotency-Key": key})
    assert_refused(answer, 400, param="Idempotency-Key")


def test_an_unknown_conversation_stores_nothing(careless: Client) -> None:
    answer = careless.http.post("/jobs", json={"message": "Hello", "conversation_id": "conv_1"}, headers=_headers())
    assert_refused(answer, 404, param="conversation_id", code="not_found")
