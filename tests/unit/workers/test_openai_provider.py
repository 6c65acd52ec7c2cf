"""What a provider sends, read: events cut out of bytes, chunks with and without sense, the waits it asks for."""

import asyncio
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIStatusError

from workers.providers.base import Chunk, ProviderError
from workers.providers.openai import errors, stream
from workers.providers.openai.chunks import AnswerReader

BODY = (
    b': hello\n\nevent: x\ndata: {"a": 1}\n\ndata:{"b": "\xc3\xa4"}\n\ndata:  {"c": 3}  \n\ndata: [DONE]\n\ndata: {"late": 1}\n\n'
)
DATA = [b'{"a": 1}', b'{"b": "\xc3\xa4"}', b'{"c": 3}']


def cut(*chunks: bytes) -> list[bytes]:
    """Return the events of a body that comes in these chunks."""

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collect() -> list[bytes]:
        return [data async for data in stream.events(body()) if data not in (stream.DONE, stream.SIGN_OF_LIFE)]

    return asyncio.run(collect())


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_events_are_cut_wherever_a_body_is_split(line_end: bytes) -> None:
    body = BODY.replace(b"\n", line_end)

    assert cut(*(body[at : at + 1] for at in range(len(body)))) == DATA
    assert [cut(body[:at], body[at:]) for at in range(len(body))] == [DATA] * len(body)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'\xef\xbb\xbfdata: {"a": 1}\n\n', [{"a": 1}]),
        (b'data:\n\ndata: \n\ndata: {"a": 1}\n\n', [{"a": 1}]),
        (b'data: {"a":\ndata: 1}\n\ndata: {"b": 2}\n\n', [{"a": 1}, {"b": 2}]),
        (b'data: {\ndata:   "a": {"b": 1},\ndata:   "c": 2\ndata: }\n\ndata: [DONE]\n\n', [{"a": {"b": 1}, "c": 2}]),
        (b'data: {"a": 1}\ndata: {"b": 2}\n', [{"a": 1}, {"b": 2}]),
        (b'data: {"a": "{"}\ndata: {"b": "}"}\ndata: {"c": 3}\n', [{"a": "{"}, {"b": "}"}, {"c": 3}]),
        (b'data: {"a": "{"}', [{"a": "{"}]),
        (b'data: {"a": "{"}\ndata: [DONE]\n', [{"a": "{"}]),
        (b'data: {"a": 1}\n\ndata: {"b":\ndata: 2', [{"a": 1}]),
    ],
    ids=[
        "a byte order mark",
        "no data",
        "two lines",
        "many lines",
        "no empty lines",
        "odd braces",
        "no end",
        "odd braces before the end",
        "cut off",
    ],
)
def test_events_are_understood_as_the_standard_has_them_and_as_they_are(
    body: bytes, expected: list[object], line_end: bytes
) -> None:
    body = body.replace(b"\n", line_end)

    assert [orjson.loads(data) for data in cut(body)] == expected
    assert [orjson.loads(data) for data in cut(*(body[at : at + 1] for at in range(len(body))))] == expected


def test_an_event_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_LINE_BYTES", 1000)
    with pytest.raises(ProviderError) as caught:
        cut(*[b"data: {" + b"x" * 90 + b"\n"] * 12)
    assert (caught.value.reason, caught.value.retryable) == ("provider_malformed", True)


def test_what_ends_without_a_line_end_is_an_event_if_it_was_not_cut_off() -> None:
    assert cut(b'data: {"a": 1}\n\ndata: {"b"') == [b'{"a": 1}']
    assert cut(b'data: {"a": 1}\n\nda', b'ta: {"b": 2}') == [b'{"a": 1}', b'{"b": 2}']
    assert cut(b'data: {"a": 1}\n\ndata: [DONE]') == [b'{"a": 1}']
    assert cut() == []


def test_a_line_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_LINE_BYTES", 1000)
    assert cut(*[b"x" * 100] * 10, b"\n", b"data: 1\n") == [b"1"]
    with pytest.raises(ProviderError) as caught:
        cut(*[b"x" * 100] * 11, b"\n")
    assert (caught.value.reason, caught.value.retryable) == ("provider_malformed", True)


def chunk(**choice: Any) -> bytes:
    return orjson.dumps({"choices": [choice]})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (chunk(delta={"content": "a"}), Chunk({"content": "a"})),
        (chunk(delta={}, finish_reason="stop"), Chunk({}, "stop")),
        (chunk(delta={"content": None, "x_vendor": [1]}), Chunk({"content": None, "x_vendor": [1]})),
        (b'{"choices": [], "usage": {"prompt_tokens": 1}}', Chunk(None, None, {"prompt_tokens": 1, "total_tokens": 1})),
        (b'{"choices": null, "usage": null}', Chunk()),
        (b'{"error": null}', Chunk()),
        (b"{}", Chunk()),
    ],
)
def test_a_chunk_is_read_as_it_came(data: bytes, expected: Chunk) -> None:
    assert AnswerReader().read(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b'"text"',
        b"[1]",
        b'{"choices": "x"}',
        b'{"choices": ' + b"[" * 100_000,
        b'{"choices": {"a": 1}}',
        b'{"choices": ["x"]}',
        b'{"choices": [null]}',
        chunk(delta="text"),
        chunk(delta=["text"]),
        chunk(delta={"content": 5}),
        chunk(delta={"refusal": {}, "content": {"a": 1}}),
        chunk(delta={"tool_calls": "x"}),
        chunk(delta={"tool_calls": 1}),
        chunk(delta={"tool_calls": ["x"]}),
        chunk(delta={"tool_calls": [{"index": "a"}]}),
        chunk(delta={"tool_calls": [{"function": "x"}]}),
        chunk(delta={"tool_calls": [{"id": 7}]}),
        chunk(delta={}, finish_reason=7),
    ],
)
def test_a_chunk_without_sense_is_an_error_that_may_pass(data: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        AnswerReader().read(data)

    assert (caught.value.reason, caught.value.retryable) == ("provider_malformed", True)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3.0, "completion_tokens": None, "x": 1}, {"x": 1, "prompt_tokens": 3, "total_tokens": 3}),
        ({"prompt_tokens": 3, "completion_tokens": 4}, {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
        ({"prompt_tokens": 3, "total_tokens": 9}, {"prompt_tokens": 3, "total_tokens": 9}),
        ({"prompt_tokens": "many"}, None),
        ({"prompt_tokens": 1.5}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": 2**40}, None),
        ("x", None),
        ([1], None),
        ({}, None),
    ],
)
def test_an_odd_usage_costs_no_answer(usage: object, expected: object) -> None:
    read = AnswerReader().read(orjson.dumps({"choices": [{"delta": {"content": "a"}}], "usage": usage}))

    assert read == Chunk({"content": "a"}, None, expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"content": "ab"}),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]},
            {"content": "a", "reasoning_content": "hm"},
        ),
        ({"content": []}, {"content": ""}),
    ],
    ids=["parts", "thinking", "no parts"],
)
def test_an_odd_delta_is_put_into_openais_words(delta: object, expected: object) -> None:
    assert AnswerReader().read(chunk(delta=delta)).delta == expected


def test_numbers_that_json_does_not_have_cost_no_answer() -> None:
    data = b'{"choices": [{"delta": {"content": "a"}, "logprobs": {"x": NaN, "y": -Infinity}}]}'

    assert AnswerReader().read(data).delta == {"content": "a"}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
        ("sensitive", "content_filter"),
        ("tool_use", "tool_calls"),
        ("function_call", "function_call"),
        ("Something new", "Something new"),
        ("", ""),
        (None, None),
    ],
)
def test_a_finish_reason_is_put_into_openais_words(given: str | None, read: str | None) -> None:
    assert AnswerReader().read(chunk(delta={}, finish_reason=given)).finish_reason == read


@pytest.mark.parametrize("given", ["error", "network_error", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL"])
def test_a_finish_reason_that_means_failure_is_one(given: str) -> None:
    with pytest.raises(ProviderError, match=given) as caught:
        AnswerReader().read(chunk(delta={"content": "a"}, finish_reason=given))
    assert (caught.value.reason, caught.value.retryable) == ("provider_broke_off", True)


def test_a_finish_reason_fits_into_its_column() -> None:
    assert AnswerReader().read(chunk(delta={}, finish_reason="r" * 100)).finish_reason == "r" * 32


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"message": "Overloaded", "code": "busy"}, "busy", "Overloaded"),
        ({"message": "Overloaded"}, "provider_error", "Overloaded"),
        ({"code": 529}, "provider_error", "{'code': 529}"),
        ({"code": 529, "type": "busy"}, "busy", "{'code': 529, 'type': 'busy'}"),
        ("Overloaded", "provider_error", "Overloaded"),
    ],
)
def test_an_error_inside_the_stream_is_raised(error: object, code: str, message: str) -> None:
    with pytest.raises(ProviderError) as caught:
        AnswerReader().read(orjson.dumps({"error": error}))

    assert (caught.value.reason, caught.value.message, caught.value.retryable) == (code, message, True)


REFUSALS = dict.fromkeys((400, 401, 403, 404, 413, 422), False) | dict.fromkeys((408, 409, 429, 500, 502, 503, 529), True)


@pytest.mark.parametrize(("status", "passes"), REFUSALS.items())
def test_the_status_says_whether_another_try_may_succeed(status: int, passes: bool) -> None:
    response = httpx2.Response(status, headers={"retry-after": "7"}, request=httpx2.Request("POST", "http://provider"))
    refused = errors.status_error(APIStatusError("No.", response=response, body={"message": "Not so.", "code": "no"}))

    assert (refused.retryable, refused.http_status, refused.retry_after_seconds) == (passes, status, 7.0)
    wait = {"retry_after_seconds": 7.0} if status == 429 else {}
    assert refused.fields() == {"code": "no", "message": "Not so.", "provider_status": status, **wait}


def message_of(message: str, key: str) -> str:
    request = httpx2.Request("POST", "http://provider", headers={"Authorization": f"Bearer {key}"})
    response = httpx2.Response(401, request=request)
    return errors.status_error(APIStatusError("No.", response=response, body={"message": message})).message


def test_a_key_that_the_provider_repeats_is_removed() -> None:
    assert message_of("Wrong key: sk-0123456789.", "sk-0123456789") == "Wrong key: …."
    assert message_of("There is none.", "none") == "There is none."
    assert message_of("Wrong key.", "") == "Wrong key."


def test_what_a_provider_says_is_bounded_and_found_wherever_it_stands() -> None:
    assert message_of("x" * 5_000_000, "sk-0123456789") == "x" * 2_000 + "…"
    request = httpx2.Request("POST", "http://provider")
    for body, message in (("no such model", "no such model"), ({"detail": "Not here."}, "Not here."), ({"detail": [1]}, "No.")):
        error = APIStatusError("No.", response=httpx2.Response(400, request=request), body=body)
        assert errors.status_error(error).message == message
    with pytest.raises(ProviderError) as caught:
        AnswerReader("sk-0123456789").read(orjson.dumps({"error": {"message": "Wrong key: sk-0123456789.", "code": {"a": 1}}}))
    assert (caught.value.message, caught.value.reason) == ("Wrong key: ….", "provider_error")


def retry_after(**headers: str) -> float | None:
    return errors.retry_after_seconds(httpx2.Headers({name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "3"}, 3.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "3"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "3"}, 3.0),
    ],
)
def test_the_wait_that_a_provider_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(**headers) == seconds


@pytest.mark.parametrize("away", [30, -30])
def test_the_moment_that_a_provider_asks_for(away: int) -> None:
    assert retry_after(retry_after=formatdate(time.time() + away, usegmt=True)) == pytest.approx(away, abs=2)


@pytest.mark.parametrize(
    "rubbish",
    [
        "",
        " ",
        ".",
        "-1",
        "1e3",
        "soon",
        "inf",
        "nan",
        "1,5",
        "9" * 5000,
        "Wed, 99 Oct 2026",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 -0000",
    ],
)
@pytest.mark.parametrize("name", ["retry_after", "retry_after_ms"])
def test_rubbish_is_no_error(name: str, rubbish: str) -> None:
    seconds = retry_after(**{name: rubbish})

    assert seconds is None or seconds < 0 or seconds == float("inf")


@given(st.text(st.characters(max_codepoint=255)).map(lambda text: text.encode("latin-1")))
def test_no_header_is_an_error(value: bytes) -> None:
    for name in (b"retry-after", b"retry-after-ms"):
        seconds = errors.retry_after_seconds(httpx2.Headers([(name, value)]))
        assert seconds is None or isinstance(seconds, float)
