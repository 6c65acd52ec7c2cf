"""`/v1/responses` through OpenAI's own SDK, unmodified."""

import secrets
import threading
from typing import Any

import openai
import orjson
import pytest
from openai import OpenAI
from pydantic import BaseModel

from dev.testing.client import Client, counted
from dev.testing.stack import wait_until
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment
from tests.openai_reader import is_dense, sdk, text_of

TOKENS = 10
MODEL = f"demo?tokens={TOKENS}&first_ms=0&gap_ms=2"
ECHO = "demo?echo=1&gap_ms=0"
SLOW = "demo?tokens=200&gap_ms=50"
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    "strict": False,
}


class Weather(BaseModel):
    """What a structured answer is to be."""

    place: str
    degrees: int


def new() -> str:
    """Return a text that no other request has."""
    return f"Hello {secrets.token_hex(8)}"


def shown(response: Any) -> list[dict[str, Any]]:
    """Tell what an echoing model was shown."""
    messages: list[dict[str, Any]] = orjson.loads(response.output_text)
    return messages


def test_a_response_comes_whole(api: OpenAI) -> None:
    response = api.responses.create(model=MODEL, input="Hello", metadata={"a": "b"}, temperature=0.5)
    assert (response.status, response.output_text) == ("completed", counted(TOKENS))
    assert response.id.startswith("resp_")
    assert response.usage is not None
    assert response.usage.output_tokens == TOKENS
    assert response.usage.input_tokens_details.cache_write_tokens == 0
    assert (response.metadata, response.temperature, response.model) == ({"a": "b"}, 0.5, MODEL)
    assert response._request_id
    assert api.responses.retrieve(response.id) == response


def test_a_stream_is_told_in_order_and_agrees_with_itself(api: OpenAI) -> None:
    events: list[Any] = [event.to_dict() for event in api.responses.create(model=MODEL, input="Hello", stream=True)]
    assert is_dense(events)
    assert [event["type"] for event in events[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    (done,) = [event["text"] for event in events if event["type"] == "response.output_text.done"]
    final = events[-1]["response"]
    assert "".join(deltas) == done == text_of(final) == counted(TOKENS)
    assert api.responses.retrieve(final["id"]).to_dict() == final


@ON_SQLITE
def test_the_helper_puts_a_stream_together(api: OpenAI) -> None:
    with api.responses.stream(model=MODEL, input="Hello") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == counted(TOKENS)


@ON_SQLITE
def test_a_structured_answer_is_parsed(api: OpenAI) -> None:
    assert isinstance(api.responses.parse(model="demo", input="Hello", text_format=Weather).output_parsed, Weather)
    with api.responses.stream(model="demo", input="Hello", text_format=Weather) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Weather)


@ON_SQLITE
@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_tool_is_called_and_answers(api: OpenAI, *, streamed: bool, store: bool) -> None:
    # When a tool is called
    question: Any = {"role": "user", "content": new()}
    if streamed:
        with api.responses.stream(model="demo", input=[question], tools=[TOOL], store=store) as stream:
            response: Any = stream.get_final_response()
    else:
        response = api.responses.create(model="demo", input=[question], tools=[TOOL], store=store)
    (call,) = response.output
    assert (call.type, call.name, set(orjson.loads(call.arguments))) == ("function_call", "get_weather", {"place"})

    # Then its output can be sent behind the response, or with all items before it
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    if store:
        answer = api.responses.create(model="demo", input=[output], tools=[TOOL], previous_response_id=response.id)
    else:
        answer = api.responses.create(model="demo", input=[question, *response.output, output], tools=[TOOL], store=False)
    assert "21 degrees" in answer.output_text


@ON_SQLITE
def test_an_image_is_sent(api: OpenAI) -> None:
    parts: Any = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PIXEL, "detail": "low"}]
    assert "1 image" in api.responses.create(model="demo", input=[{"role": "user", "content": parts}]).output_text


def test_responses_follow_one_another(api: OpenAI) -> None:
    first = api.responses.create(model=ECHO, input="one", instructions="Be brief.")
    second = api.responses.create(model=ECHO, input="two", previous_response_id=first.id)
    branch = api.responses.create(model=ECHO, input="another two", previous_response_id=first.id)
    assert [message["content"] for message in shown(first)] == ["Be brief.", "one"]
    # Instructions hold for one response
    assert [message["role"] for message in shown(second)] == ["user", "assistant", "user"]
    assert [message["content"] for message in shown(branch)][::2] == ["one", "another two"]
    loose = api.responses.create(model=ECHO, input="three", previous_response_id=second.id, store=False)
    assert [message["content"] for message in shown(loose)][::2] == ["one", "two", "three"]
    assert second.previous_response_id == first.id


@ON_SQLITE
def test_a_response_may_follow_one_that_still_runs(api: OpenAI) -> None:
    first = api.responses.create(model="demo?tokens=10&gap_ms=30", input="one", background=True)
    second = api.responses.create(model=ECHO, input="two", previous_response_id=first.id)
    assert [message["content"] for message in shown(second)] == ["one", counted(10), "two"]


@ON_SQLITE
def test_several_messages_are_one_turn(api: OpenAI) -> None:
    turn: Any = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
    ]
    first = api.responses.create(model=ECHO, input=turn)
    assert [message["content"] for message in shown(first)] == ["Be kind.", "one", "two"]
    second = api.responses.create(model=ECHO, input="three", previous_response_id=first.id)
    assert [message["role"] for message in shown(second)] == ["developer", "user", "user", "assistant", "user"]


@ON_SQLITE
@pytest.mark.parametrize("of_whom", ["nobody", "another", "an unstored one", "a chat completion"])
def test_what_is_not_there_cannot_be_followed(deployment: Deployment, api: OpenAI, of_whom: str) -> None:
    previous = "resp_nothing"
    if of_whom == "another":
        with sdk(deployment.url, deployment.user().token) as stranger:
            previous = stranger.responses.create(model=MODEL, input="Hello").id
    elif of_whom == "an unstored one":
        previous = api.responses.create(model=MODEL, input="Hello", store=False).id
    elif of_whom == "a chat completion":
        made = api.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
        previous = made.id.replace("chatcmpl-", "resp_")
    with pytest.raises(openai.BadRequestError) as refused:
        api.responses.create(model=MODEL, input="x", previous_response_id=previous)
    assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")


def test_a_background_response_is_polled_and_its_input_listed(api: OpenAI) -> None:
    sent: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    first = api.responses.create(model=MODEL, input=sent, background=True)
    assert first.status in {"queued", "in_progress"}
    assert (first.background, first.output, first.usage) == (True, [], None)
    wait_until(lambda: api.responses.retrieve(first.id).status == "completed", "the response")
    ascending = [item.to_dict() for item in api.responses.input_items.list(first.id, order="asc", limit=2)]
    assert [item["content"][0]["text"] for item in ascending] == ["0", "1", "2", "3", "4"]  # type: ignore[index]
    descending = [item.to_dict() for item in api.responses.input_items.list(first.id, limit=4)]
    assert descending == ascending[::-1]
    assert len({item["id"] for item in ascending}) == 5
    page = api.responses.input_items.list(first.id, after=str(ascending[1]["id"]), limit=2, order="asc")
    assert [item.id for item in page.data] == [item["id"] for item in ascending[2:4]]
    assert page.has_more


def test_what_is_not_over_says_when_to_look_again(idle_client: Client) -> None:
    with sdk(idle_client.url, idle_client.token) as api:
        raw = api.responses.with_raw_response.create(model=MODEL, input="Hello", background=True)
        assert int(raw.headers["openai-poll-after-ms"]) > 0
        assert raw.parse().status == "queued"
        assert raw.headers["x-chatrelay-job-id"] == raw.parse().id.replace("resp_", "job_")
        # Cancelled before it began
        cancelled = api.responses.cancel(raw.parse().id)
        assert (cancelled.status, cancelled.output) == ("cancelled", [])
        assert [event.type for event in api.responses.retrieve(cancelled.id, stream=True)] == [
            "response.created",
            "response.queued",
            "response.cancelled",
        ]


@ON_SQLITE
@pytest.mark.parametrize("when", ["waiting for the first token", "in the middle"])
def test_a_cancel_ends_the_response_and_every_stream(api: OpenAI, deployment: Deployment, when: str) -> None:
    # Given a response that runs, and its readers
    model = "demo?tokens=5&first_ms=30000" if when.startswith("waiting") else SLOW
    before = int(str(deployment.stack.stats()["disconnects"]))
    response = api.responses.create(model=model, input=new(), background=True)
    received: list[list[Any]] = [[], []]

    def read(into: list[Any]) -> None:
        into.extend(event.to_dict() for event in api.responses.retrieve(response.id, stream=True))

    readers = [threading.Thread(target=read, args=(into,)) for into in received]
    for reader in readers:
        reader.start()
    status = "in_progress"
    wait_until(lambda: api.responses.retrieve(response.id).status == status, "it to run")
    if when == "in the middle":
        wait_until(lambda: api.responses.retrieve(response.id).output_text, "some text")

    # When it is cancelled, then all see it, the provider is hung up on, and text and usage are kept
    cancelled = api.responses.cancel(response.id)
    assert cancelled.status == "cancelled"
    for reader in readers:
        reader.join(30)
    for events in received:
        assert events[-1]["type"] == "response.cancelled"
        assert events[-1]["response"] == cancelled.to_dict()
    assert cancelled.usage is not None
    assert bool(cancelled.output_text) == (when == "in the middle")
    wait_until(lambda: int(str(deployment.stack.stats()["disconnects"])) > before, "the provider to be hung up on")

    # And again is the same
    assert api.responses.cancel(response.id) == cancelled
    assert api.responses.retrieve(response.id) == cancelled


@ON_SQLITE
def test_a_cancel_after_the_end_changes_nothing_and_in_the_foreground_there_is_none(api: OpenAI) -> None:
    response = api.responses.create(model=MODEL, input="Hello", background=True)
    wait_until(lambda: api.responses.retrieve(response.id).status == "completed", "the response")
    assert api.responses.cancel(response.id).status == "completed"
    foreground = api.responses.create(model=MODEL, input="Hello")
    with pytest.raises(openai.BadRequestError) as refused:
        api.responses.cancel(foreground.id)
    assert refused.value.param == "response_id"


@ON_SQLITE
def test_what_is_deleted_is_gone_and_its_conversation_goes_on(api: OpenAI) -> None:
    first = api.responses.create(model=ECHO, input="one")
    second = api.responses.create(model=ECHO, input="two", previous_response_id=first.id)
    api.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        api.responses.retrieve(first.id)
    third = api.responses.create(model=ECHO, input="three", previous_response_id=second.id)
    assert [message["content"] for message in shown(third)][::2] == ["one", "two", "three"]


@ON_SQLITE
def test_nobody_reaches_what_is_anothers(deployment: Deployment, api: OpenAI) -> None:
    mine = api.responses.create(model=SLOW, input="a secret", background=True)
    with sdk(deployment.url, deployment.user().token) as stranger:
        for reach in (
            lambda: stranger.responses.retrieve(mine.id),
            lambda: stranger.responses.retrieve(mine.id, stream=True),
            lambda: stranger.responses.cancel(mine.id),
            lambda: stranger.responses.delete(mine.id),
            lambda: stranger.responses.input_items.list(mine.id),
        ):
            with pytest.raises(openai.NotFoundError) as refused:
                reach()
            assert mine.id in refused.value.message
    assert api.responses.cancel(mine.id).status == "cancelled"


@ON_SQLITE
@pytest.mark.parametrize("stream", [True, False])
def test_a_failing_provider_in_the_background_is_a_failed_response(api: OpenAI, *, stream: bool) -> None:
    model = "demo?fail=429&retry_after=3600&fail_times=9"
    if stream:
        events = list(api.responses.create(model=model, input=new(), background=True, stream=True))
        assert [event.type for event in events[-2:]] == ["error", "response.failed"]
        response: Any = events[-1].response  # type: ignore[union-attr]
    else:
        begun = api.responses.create(model=model, input=new(), background=True)
        wait_until(lambda: api.responses.retrieve(begun.id).status == "failed", "the failure")
        response = api.responses.retrieve(begun.id)
    assert response.error.code == "rate_limit_exceeded"
    assert "ordered to fail" in response.error.message


@ON_SQLITE
def test_a_whole_response_whose_provider_fails_raises(api: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="ordered to fail") as refused:
        api.responses.create(model="demo?fail=401&fail_times=9", input=new())
    assert (refused.value.status_code, refused.value.code) == (502, "invalid_api_key")
    assert refused.value.response.headers["x-should-retry"] == "false"


@ON_SQLITE
def test_an_answer_that_was_cut_is_incomplete(api: OpenAI) -> None:
    response = api.responses.create(model="demo", input="Hello", max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.max_output_tokens == 3


@ON_SQLITE
def test_a_background_response_goes_on_in_a_new_item_and_a_foreground_one_fails(api: OpenAI) -> None:
    model = f"{MODEL}&drop_at=5"
    events = list(api.responses.create(model=model, input=new(), background=True, stream=True))
    final: Any = events[-1]
    assert (final.response.status, final.response.output_text) == ("completed", counted(TOKENS))
    assert [event.output_index for event in events if event.type == "response.output_item.added"] == [0, 1]
    failed: Any = list(api.responses.create(model=model, input=new(), stream=True))[-1]
    assert (failed.type, failed.response.output_text) == ("response.failed", counted(5))
    with api.responses.stream(model=model, input=new(), background=True) as stream:
        assert stream.get_final_response().output_text == counted(TOKENS)


@ON_SQLITE
def test_the_tries_of_one_request_are_one_response(client: Client) -> None:
    body = {"model": MODEL, "input": new(), "background": True}

    def send(count: int) -> str:
        headers = {"X-Stainless-Retry-Count": str(count)}
        return str(client.http.post("/v1/responses", json=body, headers=headers).json()["id"])

    assert len({send(0), send(1), send(2)}) == 1
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first, again = [client.http.post("/v1/responses", json=body, headers=key).json()["id"] for _ in range(2)]
    assert first == again
    other = client.http.post("/v1/responses", json={**body, "input": "x"}, headers=key)
    assert (other.status_code, other.headers["x-should-retry"]) == (409, "false")


@ON_SQLITE
def test_null_is_as_good_as_nothing(client: Client) -> None:
    # The SDK's own objects, dumped as they are, say null for much that a request does not know
    call = {
        "type": "function_call",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
        "caller": None,
        "namespace": None,
        "async_": None,
    }
    picture = {"type": "input_image", "image_url": PIXEL, "file_id": None, "detail": None}
    body = {
        "model": MODEL,
        "input": [
            {"type": None, "role": "user", "content": [picture]},
            call,
            {"type": "function_call_output", "call_id": "c", "output": "4"},
        ],
        "prompt": None,
        "moderation": None,
        "reasoning": {"context": None},
        "tools": [{"type": "function", "name": "f", "defer_loading": None, "parameters": {"default": None}}],
    }
    answer = client.http.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["tools"][0]["parameters"] == {"default": None}
    part = {"type": "image_url", "image_url": {"url": PIXEL, "detail": None}}
    chat = {"model": MODEL, "messages": [{"role": "user", "content": [part]}], "nonsense": None}
    assert client.http.post("/v1/chat/completions", json=chat).status_code == 200


@ON_SQLITE
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input.0.content.0.file_data"),
        ({"input": [{"type": "web_search_call"}]}, "input"),
        ({"input": [{"type": "shell_call_output"}]}, "input.0.type"),
        ({"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": PIXEL}]}]}, "input.0.content"),
        ({"input": "x", "temperature": 2.1}, "temperature"),
        ({"input": "x", "top_p": -1}, "top_p"),
        ({"input": "x", "top_logprobs": 3}, "top_logprobs"),
        ({"input": "x", "tools": [{"name": "web_search"}]}, "tools.0.type"),
        ({"input": "x", "include": ["message.output_text.logprobs"]}, "include"),
        ({"input": "x", "prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": "x", "metadata": {"a": "b" * 513}}, "metadata.a"),
        ({"input": "x", "conversation": "conv_1", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x" * 10_001}, "input"),
        ({"input": "x", "instructions": "x" * 10_001}, "instructions"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client: Client, body: dict[str, Any], param: str) -> None:
    answer = client.http.post("/v1/responses", json={"model": MODEL, **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert answer.headers["x-should-retry"] == "false"


@ON_SQLITE
def test_tokens_are_estimated_and_a_slash_at_the_end_is_no_matter(api: OpenAI, client: Client) -> None:
    first = api.responses.create(model=ECHO, input="one two three")
    assert api.responses.input_tokens.count(model=MODEL, instructions="one two three four").input_tokens == 5
    alone = api.responses.input_tokens.count(model=MODEL, input="one two three four").input_tokens
    assert alone > 0
    behind = api.responses.input_tokens.count(model=MODEL, input="one two three four", previous_response_id=first.id)
    assert behind.input_tokens > alone
    conversation = api.conversations.create(items=[{"type": "message", "role": "user", "content": "one two three"}])
    there = api.responses.input_tokens.count(model=MODEL, input="one two three four", conversation=conversation.id)
    assert there.input_tokens > alone
    assert api.responses.input_tokens.count(model=MODEL, input="one two three four", tools=[TOOL]).input_tokens > alone
    assert client.http.post("/v1/responses/", json={"model": MODEL, "input": "x"}).status_code == 200
    assert client.http.get("/v1/models/").status_code == 200


@ON_SQLITE
def test_every_answer_has_openais_headers(client: Client) -> None:
    for answer in (client.http.get("/v1/models"), client.http.get("/v1/responses/x"), client.http.post("/v1/responses", json={})):
        assert answer.headers["x-request-id"]
        assert answer.headers["openai-version"]
        assert int(answer.headers["openai-processing-ms"]) >= 0
    assert client.http.get("/v1/nothing").headers["x-request-id"]
