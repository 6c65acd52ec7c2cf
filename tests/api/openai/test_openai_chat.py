"""`/v1/chat/completions` through OpenAI's own SDK, unmodified."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from dev.testing.client import Client, counted
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment, deployed
from tests.openai_reader import sdk

TOKENS = 10
MODEL = f"demo?tokens={TOKENS}&first_ms=0&gap_ms=2"
DONE = b"data: [DONE]\n\n"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


class Weather(BaseModel):
    """What a structured answer is to be."""

    place: str
    degrees: int


def new(text: str = "") -> list[Any]:
    """Ask something that nobody has asked before."""
    return [{"role": "user", "content": f"{text} {secrets.token_hex(8)}"}]


def test_an_answer_comes_whole(api: OpenAI) -> None:
    completion = api.chat.completions.create(model=MODEL, messages=HELLO)
    assert completion.choices[0].message.content == counted(TOKENS)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.id.startswith("chatcmpl-")
    assert completion.usage is not None
    assert completion.usage.completion_tokens == TOKENS
    assert completion.usage.prompt_tokens_details is not None
    assert completion._request_id


@ON_SQLITE
def test_an_answer_is_streamed(api: OpenAI) -> None:
    chunks = list(api.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == counted(TOKENS)
    assert chunks[-1].usage is not None
    assert [chunk.to_dict()["sequence_number"] for chunk in chunks] == list(range(len(chunks)))
    plain = list(api.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert all(chunk.usage is None for chunk in plain)


async def _streamed(url: str, token: str) -> str:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=token) as asynchronous:
        stream = await asynchronous.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


@ON_SQLITE
def test_an_answer_is_streamed_to_the_asynchronous_client_and_with_an_api_token(deployment: Deployment, client: Client) -> None:
    token = client.http.post("/auth/tokens", json={"name": "sdk"}).json()["secret"]
    assert asyncio.run(_streamed(deployment.url, token)) == counted(TOKENS)


@ON_SQLITE
def test_the_helper_puts_a_stream_together(api: OpenAI) -> None:
    with api.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == counted(TOKENS)


@ON_SQLITE
def test_a_structured_answer_is_parsed(api: OpenAI) -> None:
    parsed = api.chat.completions.parse(model="demo", messages=HELLO, response_format=Weather).choices[0].message.parsed
    assert isinstance(parsed, Weather)
    with api.chat.completions.stream(model="demo", messages=HELLO, response_format=Weather) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Weather)


@ON_SQLITE
@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_answers(api: OpenAI, *, streamed: bool) -> None:
    messages = new("What is the weather in Rome?")
    if streamed:
        with api.chat.completions.stream(model="demo", messages=messages, tools=[TOOL]) as stream:
            message: Any = stream.get_final_completion().choices[0].message
    else:
        message = api.chat.completions.create(model="demo", messages=messages, tools=[TOOL]).choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == "get_weather"
    assert set(orjson.loads(call.function.arguments)) == {"place"}
    answer: Any = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
    completion = api.chat.completions.create(model="demo", messages=[*messages, message, answer], tools=[TOOL])
    assert "21 degrees" in (completion.choices[0].message.content or "")


@ON_SQLITE
def test_an_image_is_sent(api: OpenAI) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
    completion = api.chat.completions.create(model="demo", messages=[{"role": "user", "content": parts}])  # type: ignore[list-item, misc]
    assert "1 image" in (completion.choices[0].message.content or "")


@ON_SQLITE
@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 3), ("n", 9), ("logprobs", "yes"), ("messages", []), ("functions", {})]
)
def test_what_cannot_be_honoured_is_a_bad_request_that_names_it(api: OpenAI, field: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.chat.completions.create(model=MODEL, messages=HELLO, extra_body={field: value})
    assert refused.value.param == field
    assert refused.value.request_id
    assert refused.value.response.headers["x-should-retry"] == "false"


@ON_SQLITE
def test_nothing_is_served_with_a_wrong_key(deployment: Deployment) -> None:
    with sdk(deployment.url, "sk-wrong") as nobody, pytest.raises(openai.AuthenticationError) as refused:
        nobody.chat.completions.create(model=MODEL, messages=HELLO)
    assert (refused.value.code, bool(refused.value.request_id)) == ("invalid_api_key", True)


@ON_SQLITE
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("fail=400", 400, None), ("fail=401", 502, "invalid_api_key"), ("fail=429&retry_after=3600", 429, None)],
)
def test_a_failing_provider_keeps_its_cause(api: OpenAI, fault: str, status: int, code: str | None, *, stream: bool) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        api.chat.completions.create(model=f"demo?{fault}&fail_times=9", messages=new(), stream=stream)
    assert refused.value.status_code == status
    assert refused.value.response.headers.get("retry-after") == ("3600" if status == 429 else None)
    assert "ordered to fail" in refused.value.message
    assert code is None or refused.value.code == code
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert refused.value.response.headers["x-chatrelay-job-id"].startswith("job_")


@ON_SQLITE
def test_a_stream_that_breaks_after_text_raises(api: OpenAI) -> None:
    shown: list[str] = []
    stream = api.chat.completions.create(model=f"{MODEL}&drop_at=5", messages=new(), stream=True)
    with pytest.raises(openai.APIError):
        shown.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(shown) == counted(5)


@ON_SQLITE
def test_a_whole_answer_is_asked_again(api: OpenAI) -> None:
    completion = api.chat.completions.create(model=f"{MODEL}&drop_at=5", messages=new())
    assert completion.choices[0].message.content == counted(TOKENS)


@ON_SQLITE
def test_a_stream_is_taken_up_again_after_every_chunk(client: Client) -> None:
    body = {"model": MODEL, "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    with client.http.stream("POST", "/v1/chat/completions", json=body) as response:
        whole = b"".join(response.iter_bytes())
        job_id = response.headers["x-chatrelay-job-id"]
    path = f"/v1/chat/completions/chatcmpl-{job_id.removeprefix('job_')}/stream"
    frames = [frame + b"\n\n" for frame in whole.replace(b": keep-alive\n", b"").split(b"\n\n")[:-1]]
    assert frames[-1] == DONE
    assert client.http.get(path).content == b"".join(frames)
    for number in range(len(frames) - 1):  # the last frame is [DONE], which has none
        assert client.http.get(path, params={"starting_after": number}).content == b"".join(frames[number + 1 :])
    assert client.http.get(path, params={"starting_after": "x"}).json()["error"]["param"] == "starting_after"


@ON_SQLITE
def test_a_silent_provider_does_not_break_the_sdk(api: OpenAI) -> None:
    stream = api.chat.completions.create(model="demo?tokens=2&first_ms=2500&gap_ms=0", messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == counted(2)


@ON_SQLITE
def test_what_is_stored_is_listed_changed_and_deleted(api: OpenAI, deployment: Deployment) -> None:
    tag = secrets.token_hex(8)
    made = [
        api.chat.completions.create(model=MODEL, messages=new(text), store=True, metadata={"tag": tag, "text": text})
        for text in ("one", "two", "three")
    ]
    loose = api.chat.completions.create(model=MODEL, messages=HELLO)
    assert [each.id for each in api.chat.completions.list(limit=2, metadata={"tag": tag})] == [each.id for each in made]
    assert [each.id for each in api.chat.completions.list(order="desc").data] == [each.id for each in reversed(made)]
    assert [each.id for each in api.chat.completions.list(metadata={"text": "two"})] == [made[1].id]
    assert api.chat.completions.retrieve(made[0].id).choices == made[0].choices
    assert api.chat.completions.update(made[0].id, metadata={"new": "1"}).metadata == {"new": "1"}
    (message,) = api.chat.completions.messages.list(made[0].id)
    assert (message.content or "").startswith("one")
    assert api.chat.completions.delete(made[0].id).deleted
    with deployment.user() as other, sdk(deployment.url, other.token) as stranger:
        for reach in (stranger.chat.completions.retrieve, stranger.chat.completions.delete, api.chat.completions.retrieve):
            with pytest.raises(openai.NotFoundError):
                reach(made[1].id if reach != api.chat.completions.retrieve else made[0].id)
    with pytest.raises(openai.NotFoundError):
        api.chat.completions.retrieve(loose.id)


def test_metadata_of_any_name_is_found(api: OpenAI) -> None:
    names = ('a"b', "a'b", "a.b", "a]b", "0", "$", "ä", "a\\b", "💬")
    tag = secrets.token_hex(8)
    made = [
        api.chat.completions.create(model=MODEL, messages=HELLO, store=True, metadata={name: tag, "other": tag}) for name in names
    ]
    found = [[each.id for each in api.chat.completions.list(metadata={name: tag})] for name in names]
    assert found == [[each.id] for each in made]


def test_the_tries_of_one_request_are_one_job(client: Client) -> None:
    # Given a request as the SDK sends it again and again, without a key
    body = {"model": MODEL, "messages": new()}

    def send(count: int, **more: Any) -> str:
        headers = {"X-Stainless-Retry-Count": str(count), "X-Stainless-Read-Timeout": "600"}
        answer = client.http.post("/v1/chat/completions", json={**body, **more}, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    # Then its second and third try are the first's job, and another request is not
    first = send(0)
    assert [send(1), send(2)] == [first, first]
    assert send(1, temperature=1) != first
    # And the same question, asked anew, is a new one, whose tries are its own
    second = send(0)
    assert second != first
    assert send(1) == second


@ON_SQLITE
def test_the_next_try_of_a_refused_request_is_not_an_earlier_requests_job(client: Client, strict_url: str) -> None:
    body = {"model": MODEL, "messages": new()}

    def send(url: str, count: int) -> Any:
        headers = {"X-Stainless-Retry-Count": str(count)}
        return client.http.post(f"{url}/v1/chat/completions", json=body, headers=headers)

    # Given the same question asked several times, the last of which was refused
    asked = [send(strict_url, 0) for _ in range(4)]
    assert [answer.status_code for answer in asked] == [200, 200, 200, 429]
    # Then its next try is a job of its own
    ids = [answer.json()["id"] for answer in asked[:3]]
    assert send("", 1).json()["id"] not in ids


def test_tries_that_overlap_are_one_job(client: Client) -> None:
    body = {"model": MODEL, "messages": new()}

    def send(count: int) -> str:
        headers = {"X-Stainless-Retry-Count": str(count)}
        return str(client.http.post("/v1/chat/completions", json=body, headers=headers).json()["id"])

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(send, [1, 1, 2, 2]))) == 1


@ON_SQLITE
def test_the_same_key_is_the_same_job(api: OpenAI) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    first, again = [api.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=headers) for _ in range(2)]
    assert first.id == again.id
    with pytest.raises(openai.ConflictError) as refused:
        api.chat.completions.create(model=MODEL, messages=new(), extra_headers=headers)
    assert refused.value.response.headers["x-should-retry"] == "false"


@ON_SQLITE
def test_too_many_requests_raise_and_say_when_to_come_back(strict_url: str, client: Client) -> None:
    with sdk(strict_url, client.token) as limited:
        for _ in range(3):
            limited.chat.completions.create(model=MODEL, messages=HELLO)
        with pytest.raises(openai.RateLimitError) as refused:
            limited.chat.completions.create(model=MODEL, messages=HELLO)
    assert refused.value.code == "rate_limit_exceeded"
    assert int(refused.value.response.headers["retry-after"]) >= 1
    assert refused.value.response.headers["x-should-retry"] == "true"
    assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def test_the_sdk_waits_as_long_as_it_is_told_and_gets_through(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("limited")
    url, limit = f"sqlite:///{folder / 'chatrelay.db'}", {"SUBMIT_LIMIT": "1 per 2 seconds"}
    with deployed(folder, url, limit) as limited, sdk(limited.url, limited.user().token, max_retries=2) as patient:
        texts = [patient.chat.completions.create(model=MODEL, messages=HELLO).choices[0].message.content for _ in range(3)]
    assert texts == [counted(TOKENS)] * 3
