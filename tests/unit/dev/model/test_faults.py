"""The faults that a test can order from the built-in model, and how often they happen."""

import json
import time

import openai
import pytest
from openai import OpenAI

from dev.testing.client import counted
from tests.unit.dev.model.server import Server, broken, finish_of, message, streamed, text_of, whole


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, openai.BadRequestError, None),
        (401, openai.AuthenticationError, "invalid_api_key"),
        (403, openai.PermissionDeniedError, None),
        (408, openai.APIStatusError, None),
        (429, openai.RateLimitError, "rate_limit_exceeded"),
        (500, openai.InternalServerError, None),
        (503, openai.InternalServerError, None),
    ],
)
def test_a_call_fails_with_the_status_that_was_ordered(
    client: OpenAI, text: str, status: int, error: type[openai.APIStatusError], code: str | None
) -> None:
    model = f"demo?tokens=1&gap_ms=0&first_ms=0&fail={status}"
    with pytest.raises(error) as failed:
        streamed(client, model, text)
    assert (failed.value.status_code, failed.value.code) == (status, code)
    assert "retry-after" not in failed.value.response.headers
    assert text_of(streamed(client, model, text)) == counted(1)


def test_calls_are_counted_by_model_and_first_user_message(client: OpenAI, text: str) -> None:
    model = "demo?tokens=1&gap_ms=0&first_ms=0&fail=500&fail_times=2"
    for first in (text, f"{text} too", text + "x" * 300 + "1", text + "x" * 300 + "2"):
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                whole(client, model, first)
        assert text_of(whole(client, model, first)) == counted(1)
    conversation = [message("user", text), message("assistant", "Yes"), message("user", "Something else")]
    assert text_of(streamed(client, model, "", messages=conversation)) == counted(1)
    with pytest.raises(openai.InternalServerError):
        whole(client, model.replace("tokens=1", "tokens=2"), text)


def test_no_times_is_no_fault(client: OpenAI, text: str) -> None:
    assert text_of(whole(client, "demo?tokens=1&gap_ms=0&first_ms=0&fail=500&fail_times=0", text)) == counted(1)


def test_retry_after_is_told_and_the_sdk_comes_back(client: OpenAI, text: str) -> None:
    model = "demo?tokens=1&gap_ms=0&first_ms=0&fail=429&retry_after=1"
    with pytest.raises(openai.RateLimitError) as failed:
        whole(client, model, text)
    assert failed.value.response.headers["retry-after"] == "1"
    started = time.monotonic()
    assert text_of(whole(client.with_options(max_retries=1), model, f"{text} again")) == counted(1)
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("gap_ms", [0, 5])
@pytest.mark.parametrize("after", [0, 3, 5])
def test_the_socket_drops_after_a_chunk(client: OpenAI, server: Server, text: str, gap_ms: int, after: int) -> None:
    model = f"demo?tokens=5&first_ms=0&gap_ms={gap_ms}&drop_at={after}"
    received, error = broken(client, model, text, openai.APIConnectionError)
    assert not isinstance(error, openai.APITimeoutError)
    assert text_of(received) == counted(after)
    assert finish_of(received) is None
    assert text_of(streamed(client, model, text)) == counted(5)
    assert not [key for key, _ in server.stats()["disconnect_clock"] if text in key]


def test_the_socket_drops_in_a_whole_answer(client: OpenAI, text: str) -> None:
    model = "demo?tokens=5&first_ms=0&gap_ms=1&drop_at=3"
    with pytest.raises(openai.APIConnectionError):
        whole(client, model, text)
    assert text_of(whole(client, model, text)) == counted(5)


@pytest.mark.parametrize("gap_ms", [0, 5])
def test_a_malformed_chunk_comes_after_a_chunk(client: OpenAI, server: Server, text: str, gap_ms: int) -> None:
    model = f"demo?tokens=5&first_ms=0&gap_ms={gap_ms}&bad_at=3&fail_times=2"
    received, _ = broken(client, model, text, json.JSONDecodeError)
    assert text_of(received) == counted(3)
    raw = server.receive_raw(model, text)
    assert raw.index(b'"3 "') < raw.index(b"chatcmpl-broken") < raw.index(b'"4 "')
    assert text_of(streamed(client, model, text)) == counted(5)


def test_a_malformed_whole_answer(client: OpenAI, text: str) -> None:
    model = "demo?tokens=5&first_ms=0&gap_ms=0&bad_at=3"
    with pytest.raises((openai.APIError, json.JSONDecodeError)):
        whole(client, model, text)
    assert text_of(whole(client, model, text)) == counted(5)


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_the_finish_reason_can_be_ordered(client: OpenAI, text: str, reason: str) -> None:
    model = f"demo?tokens=2&gap_ms=0&first_ms=0&finish={reason}"
    for _ in range(2):
        assert finish_of(streamed(client, model, text)) == reason
        assert finish_of(whole(client, model, text)) == reason


def test_the_finish_reason_is_limited_where_times_are_given(client: OpenAI, text: str) -> None:
    limited = "demo?tokens=2&gap_ms=0&first_ms=0&finish=length&fail_times=1"
    assert [finish_of(whole(client, limited, text)) for _ in range(2)] == ["length", "stop"]
    after_failure = "demo?tokens=2&gap_ms=0&first_ms=0&finish=length&fail=500"
    with pytest.raises(openai.InternalServerError):
        whole(client, after_failure, text)
    assert finish_of(whole(client, after_failure, text)) == "length"
