"""`POST /jobs`: what an accepted job answers, what the model is shown, and what goes along to it."""

from datetime import datetime
from typing import Any

import httpx2
import orjson
import pytest

from dev.testing.client import Client, counted
from shared.models import Job
from tests.api.conftest import MAX_CHARS
from tests.api.deployment import Deployment
from tests.api.event_stream import events
from tests.api.refusals import assert_refused

QUICK = "first_ms=0&gap_ms=0"
ECHO = f"demo?echo=1&{QUICK}"
PROSE = f"demo?{QUICK}"
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ALL_PARAMETERS: dict[str, Any] = {
    "temperature": 1,
    "top_p": 0.5,
    "max_tokens": 500,
    "max_completion_tokens": 500,
    "stop": ["END", "STOP"],
    "presence_penalty": -2,
    "frequency_penalty": 2,
    "logit_bias": {"50256": -100},
    "seed": -5,
    "tools": [WEATHER],
    "tool_choice": "none",
    "parallel_tool_calls": False,
    "response_format": {"type": "text"},
    "reasoning_effort": "low",
    "verbosity": "low",
    "service_tier": "auto",
}


def _shown(client: Client, **body: Any) -> list[dict[str, Any]]:
    """Submit a job and tell which messages the model was shown."""
    answer = client.http.post("/jobs", json={"model": ECHO, **body})
    assert answer.status_code == 202, answer.text
    shown: list[dict[str, Any]] = orjson.loads(client.finished(answer.json()["id"])["text"])
    return shown


def test_an_accepted_job_says_where_to_watch_it(client: Client) -> None:
    answer = client.http.post("/jobs", json={"message": "Hello", "model": f"demo?tokens=3&{QUICK}"})
    assert answer.status_code == 202
    job = answer.json()
    assert list(job) == ["id", "request_id", "status", "conversation_id", "status_url", "stream_url"]
    assert job["request_id"] == job["id"]
    assert job["status"] == "queued"
    assert job["conversation_id"]

    # Then both addresses work as they stand, the stream's without any header
    assert client.http.get(job["status_url"]).json()["id"] == job["id"]
    received = events(job["stream_url"])
    assert [event["type"] for event in received] == ["started", "delta", "delta", "delta", "completed"]


def test_behind_a_proxy_the_addresses_are_those_that_its_clients_know(client: Client, strict_url: str) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "chat.example", "X-Forwarded-Prefix": "/relay"}
    headers = {"Authorization": f"Bearer {client.token}", **forwarded}
    job = httpx2.post(f"{strict_url}/jobs", json={"message": "Hello", "model": PROSE}, headers=headers).json()
    assert job["status_url"] == f"https://chat.example/relay/jobs/{job['id']}"
    assert job["stream_url"].startswith(f"https://chat.example/relay/jobs/{job['id']}/events?ticket=")


def test_what_only_a_proxy_may_say_is_not_believed_of_others(client: Client) -> None:
    answer = client.http.post("/jobs", json={"message": "Hello", "model": PROSE}, headers={"X-Forwarded-Host": "evil.example"})
    assert answer.json()["stream_url"].startswith(client.url)


def test_the_default_model_answers_when_none_is_named(client: Client) -> None:
    assert client.job(client.submit()["id"])["model"] == "demo"


def test_metadata_is_kept(client: Client) -> None:
    metadata = {"purpose": "a test", "ünïcode": "💬", "empty": ""}
    assert client.job(client.submit(metadata=metadata, model=PROSE)["id"])["metadata"] == metadata


def test_the_longest_message_is_taken(client: Client) -> None:
    assert _shown(client, message="x" * MAX_CHARS) == [{"role": "user", "content": "x" * MAX_CHARS}]


def test_text_arrives_as_it_was_sent(client: Client) -> None:
    text = 'Zoë said: "naïve" \\ 日本語 👩‍👩‍👧 \t\r\n \x01\x7f \u2028 end'
    assert _shown(client, message=text) == [{"role": "user", "content": text}]


def test_messages_are_the_whole_context(client: Client) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "What is this?"}]},
        {"role": "assistant", "content": "What?"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "This:"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            ],
        },
    ]
    job = client.http.post("/jobs", json={"model": ECHO, "messages": messages}).json()
    assert job["conversation_id"] is None
    assert orjson.loads(client.finished(job["id"])["text"]) == messages


def test_tool_messages_go_along(client: Client) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "user", "content": "How is the weather?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Snow."},
    ]
    assert _shown(client, messages=messages) == messages


def test_an_image_is_seen(client: Client) -> None:
    parts = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    job = client.http.post("/jobs", json={"model": PROSE, "messages": [{"role": "user", "content": parts}]}).json()
    assert "You sent 1 image" in client.finished(job["id"])["text"]


def test_a_conversation_goes_on(client: Client) -> None:
    # Given a turn that was answered
    first = client.submit("One.", model=f"demo?tokens=3&{QUICK}", system="Be brief.")
    client.finished(first["id"])

    # When the conversation goes on, then the model is shown what was said, under the prompt that it began with
    history = [{"role": "user", "content": "One."}, {"role": "assistant", "content": counted(3)}]
    turn = {"message": "Two.", "conversation_id": first["conversation_id"]}
    assert _shown(client, **turn) == [{"role": "system", "content": "Be brief."}, *history, {"role": "user", "content": "Two."}]

    # And a job's own prompt beats the conversation's
    assert _shown(client, **turn, system="Be long.")[0] == {"role": "system", "content": "Be long."}


def test_a_foreign_conversation_is_as_unknown_as_one_that_never_was(client: Client, deployment: Deployment) -> None:
    theirs = client.submit(model=PROSE)["conversation_id"]
    stranger = deployment.user()
    refusals = [
        assert_refused(stranger.http.post("/jobs", json={"message": "Hello", "conversation_id": conversation}), 404)
        for conversation in (theirs, "conv_" + "0" * 32)
    ]
    assert refusals[0] == refusals[1]
    assert refusals[0]["param"] == "conversation_id"


@pytest.mark.parametrize("limit", [{"max_tokens": 3}, {"max_completion_tokens": 3}])
def test_a_token_limit_cuts_the_answer(client: Client, limit: dict[str, Any]) -> None:
    job = client.finished(client.submit(model=f"demo?tokens=10&{QUICK}", **limit)["id"])
    assert (job["status"], job["finish_reason"], job["text"]) == ("incomplete", "length", counted(3))
    assert job["usage"]["completion_tokens"] == 3


def test_a_content_filter_leaves_the_answer_incomplete(client: Client) -> None:
    job = client.finished(client.submit(model=f"demo?tokens=2&finish=content_filter&{QUICK}")["id"])
    assert (job["status"], job["finish_reason"], job["text"]) == ("incomplete", "content_filter", counted(2))


def test_tools_are_called(client: Client) -> None:
    job = client.submit("How is the weather?", model=PROSE, tools=[WEATHER], tool_choice="required")
    received = events(job["stream_url"])
    end = client.finished(job["id"])

    # Then the call is in the message, and the deltas that readers saw make it up
    assert (end["status"], end["finish_reason"], end["text"]) == ("completed", "tool_calls", "")
    (call,) = end["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert list(orjson.loads(call["function"]["arguments"])) == ["city"]
    pieces = [event["delta"]["tool_calls"][0] for event in received if event["type"] == "delta"]
    assert "".join(piece["function"]["arguments"] for piece in pieces) == call["function"]["arguments"]
    assert pieces[0]["id"] == call["id"]


def test_an_answer_comes_in_the_format_asked_for(client: Client) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    job = client.finished(client.submit(model=PROSE, response_format=wanted)["id"])
    assert list(orjson.loads(job["text"])) == ["city"]


def test_every_parameter_goes_along_as_it_came(client: Client, deployment: Deployment) -> None:
    job = client.finished(client.submit(model=PROSE, **ALL_PARAMETERS)["id"])
    assert (job["status"], job["error"]) == ("completed", None)
    with deployment.database.read() as session:
        kept = session.get_one(Job, job["id"])
    assert kept.request["parameters"] == ALL_PARAMETERS


def test_a_schema_may_be_nested_a_hundred_deep(client: Client) -> None:
    nested: dict[str, Any] = {}
    for _ in range(97):
        nested = {"a": nested}
    wanted = {"type": "json_schema", "json_schema": {"name": "deep", "schema": nested}}
    job = client.submit(model=PROSE, response_format=wanted, headers={"Idempotency-Key": "deep"})
    assert client.finished(job["id"])["status"] == "completed"


def test_times_are_in_utc(client: Client) -> None:
    created = datetime.fromisoformat(client.job(client.submit(model=PROSE)["id"])["created_at"])
    answered = httpx2.get(f"{client.url}/healthz").headers["date"]
    now = datetime.strptime(answered, "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=created.tzinfo)
    assert created.utcoffset() is not None
    assert abs((now - created).total_seconds()) < 10
