"""The built-in model refuses by name what makes no sense; its other endpoints."""

from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.unit.dev.model.server import Server, running, whole


@pytest.mark.parametrize("model", ["gpt-4o", "demo2", "?tokens=1", "demo%3Ftokens=1"])
def test_another_model_does_not_exist(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        whole(client, model, "Hi")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=red", "colour"),
        ("tokens", "tokens"),
        ("tokens=-1", "tokens"),
        ("tokens=1.5", "tokens"),
        ("tokens=²", "tokens"),
        ("tokens=5&tokens=6", "tokens"),
        (f"tokens={'9' * 5000}", "tokens"),
        ("first_ms=soon", "first_ms"),
        ("gap_ms=", "gap_ms"),
        ("fail=200", "fail"),
        ("fail=500&retry_after=x", "retry_after"),
        ("retry_after=1", "retry_after"),
        ("fail=500&fail_times=x", "fail_times"),
        ("tokens=1&fail_times=2", "fail_times"),
        ("drop_at=x", "drop_at"),
        ("tokens=5&drop_at=6", "drop_at"),
        ("stall_at=x", "stall_at"),
        ("tokens=5&stall_at=6", "stall_at"),
        ("bad_at=x", "bad_at"),
        ("tokens=9&bad_at=1&drop_at=2", "bad_at"),
        ("finish=never", "finish"),
        ("vision=no", "vision"),
        ("split=1&coalesce=1", "split"),
        ("clock=yes", "clock"),
        ("usage=2", "usage"),
        ("echo=2", "echo"),
        ("echo=1&tokens=2", "echo"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(client: OpenAI, query: str, named: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        whole(client, f"demo?{query}", "Hi")
    assert str(refused.value.body["message"]).startswith(f"{named}=")  # type: ignore[index]
    assert (refused.value.param, refused.value.type) == ("model", "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"{}", "model"),
        (b'{"model": "demo"}', "messages"),
        (b'{"model": "demo", "messages": [{"role": "king", "content": ""}]}', "messages[0].role"),
        (b'{"model": "demo", "messages": [{"role": "user", "content": 5}]}', "messages[0].content"),
        (b'{"model": "demo", "messages": [{"role": "user", "content": ""}], "n": 2}', "n"),
        (b'{"model": "demo", "messages": [{"role": "user", "content": ""}], "max_tokens": 0}', "max_tokens"),
        (b'{"model": "demo", "messages": [{"role": "user", "content": ""}], "tools": [{}]}', "tools[0]"),
        (
            b'{"model": "demo", "messages": [{"role": "user", "content": ""}], "response_format": {"type": "xml"}}',
            "response_format.type",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_the_envelope(server: Server, body: bytes, param: str | None) -> None:
    status, answer = server.http("POST", "/v1/chat/completions", body)
    assert status == 400
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["param"] == param


def test_paths_are_served_with_and_without_v1(server: Server) -> None:
    assert server.http("GET", "/healthz")[0] == 200
    assert server.http("GET", "/models") == server.http("GET", "/v1/models")
    for method, path, status in (("GET", "/v2", 404), ("GET", "/v1/chat/completions", 405)):
        answer = server.http(method, path)
        assert (answer[0], "error" in answer[1]) == (status, True)
    question = b'{"model": "demo?tokens=1&first_ms=0", "messages": [{"role": "user", "content": ""}]}'
    assert server.http("POST", "/chat/completions", question)[0] == 200


def test_models_are_listed_and_described(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"
    assert client.models.retrieve("demo?tokens=5").id == "demo?tokens=5"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_moderation_flags_one_word(client: OpenAI) -> None:
    results = client.moderations.create(input=["Good morning", "Please FlagMe now"]).results
    assert [result.flagged for result in results] == [False, True]
    assert results[1].categories.harassment
    assert not results[0].categories.harassment
    parts: Any = [{"type": "text", "text": "flagme"}]
    assert client.moderations.create(input=parts).results[0].flagged
    with pytest.raises(openai.BadRequestError):
        client.moderations.create(input=[])


def test_a_bad_key_is_refused(server: Server) -> None:
    with OpenAI(base_url=server.url, api_key="sk-bad", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            whole(client, "demo", "Hi")
        assert refused.value.code == "invalid_api_key"


def test_only_the_key_it_was_given_opens() -> None:
    with running("--api-key", "sk-right") as server:
        with OpenAI(base_url=server.url, api_key="sk-right", max_retries=0) as client:
            assert client.models.list().data
        with OpenAI(base_url=server.url, api_key="sk-wrong", max_retries=0) as client, pytest.raises(openai.AuthenticationError):
            whole(client, "demo", "Hi")
        assert server.http("GET", "/healthz")[0] == 200
