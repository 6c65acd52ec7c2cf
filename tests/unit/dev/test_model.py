"""The built-in model, as the official SDK sees it: a real process, real sockets, every option it promises."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from tempfile import TemporaryFile
from typing import IO, Any, cast
from uuid import uuid4

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from dev.paths import ROOT

WEATHER_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}
CLOCK_TOOL: Any = {"type": "function", "function": {"name": "get_time"}}


class Server:
    """A model server in a process of its own, and the few ways to talk to it."""

    def __init__(self, complaints: IO[str], arguments: tuple[str, ...]) -> None:
        command = [sys.executable, "-m", "dev.model", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=complaints, text=True)
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.url = next(word for word in self.first_line.split() if word.startswith("http"))
        self.port = int(self.url.rsplit(":", 1)[1].partition("/")[0])

    def http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self.http("GET", "/stats")[1]
        return stats

    def send_raw(self, model: str, text: str, *, stream: bool = True, version: str = "1.1") -> socket.socket:
        """Ask over a bare socket, so that a test holds the connection in its own hands."""
        body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]})
        head = f"POST /v1/chat/completions HTTP/{version}\r\nHost: test\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall((head + body).encode())
        return connection

    def ask_raw(self, model: str, text: str, *, version: str = "1.1") -> bytes:
        """Everything that the server sends, as it is on the wire."""
        with self.send_raw(model, text, version=version) as connection:
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def running(*arguments: str) -> Iterator[Server]:
    """Start a server and end it; whatever happened, it had no reason to complain."""
    with TemporaryFile("w+") as complaints:
        server = Server(complaints, arguments)
        with closing(cast("IO[str]", server.process.stdout)) as output:
            try:
                yield server
            finally:
                server.process.terminate()
                server.process.wait(timeout=10)
            complaints.seek(0)
            assert (output.read(), complaints.read()) == ("", "")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def text() -> str:
    """A message that nobody else sends: calls are counted by it."""
    return f"Hello {uuid4()}"


def said_by(role: str, content: Any) -> Any:
    return {"role": role, "content": content}


def whole(client: OpenAI, model: str, text: str, **options: Any) -> ChatCompletion:
    completion = client.chat.completions.create(model=model, messages=[said_by("user", text)], **options)
    assert isinstance(completion, ChatCompletion)
    return completion


def streamed(client: OpenAI, model: str, text: str, **options: Any) -> list[ChatCompletionChunk]:
    messages = options.pop("messages", [said_by("user", text)])
    with client.chat.completions.create(model=model, messages=messages, stream=True, **options) as stream:
        return list(stream)


def text_of(answer: ChatCompletion | list[ChatCompletionChunk]) -> str:
    if isinstance(answer, ChatCompletion):
        return answer.choices[0].message.content or ""
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)


def finish_of(answer: ChatCompletion | list[ChatCompletionChunk]) -> str | None:
    if isinstance(answer, ChatCompletion):
        return answer.choices[0].finish_reason
    return next(chunk.choices[0].finish_reason for chunk in reversed(answer) if chunk.choices)


def numbers(count: int) -> str:
    return "".join(f"{number} " for number in range(1, count + 1))


def until(condition: Callable[[], Any], seconds: float = 5) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return found


# --- what it says -----------------------------------------------------------------------------------------------


def test_the_demo_model_answers_in_sentences_token_by_token(client: OpenAI, text: str) -> None:
    chunks = streamed(client, "demo?gap_ms=1&first_ms=0", text)
    assert text in text_of(chunks)
    assert "built-in" in text_of(chunks)
    assert "OPENAI_API_KEY" in text_of(chunks)
    assert len(chunks) > 20
    assert text_of(whole(client, "demo?gap_ms=0&first_ms=0", text)) == text_of(chunks)


def test_plain_demo_takes_its_time_but_not_long(client: OpenAI, text: str) -> None:
    started = time.monotonic()
    assert streamed(client, "demo", text, max_tokens=5)
    assert 0.15 < time.monotonic() - started < 5


def test_it_tells_what_it_was_shown(client: OpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [{"type": "text", "text": "Look here"}, image, image]
    messages = [said_by("user", "First"), said_by("assistant", "Yes?"), said_by("user", content)]
    answer = client.chat.completions.create(model="demo?gap_ms=0&first_ms=0", messages=messages)
    for expected in ("Look here", "2 images", "3 messages"):
        assert expected in text_of(answer)
    assert "First" not in text_of(answer)


@pytest.mark.parametrize("at", [0, 1])
def test_a_blind_model_refuses_every_image(client: OpenAI, at: int) -> None:
    messages = [said_by("user", "One"), said_by("user", "Two")]
    assert client.chat.completions.create(model="demo?vision=0&gap_ms=0&first_ms=0", messages=messages)
    image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    messages[at] = said_by("user", [{"type": "text", "text": "Look"}, image])
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="demo?vision=0&gap_ms=0&first_ms=0", messages=messages)
    assert refused.value.param == f"messages[{at}].content"
    assert "cannot see" in str(refused.value)


def test_echo_answers_what_it_was_shown(client: OpenAI) -> None:
    messages = [said_by("system", "Be brief."), said_by("user", [{"type": "text", "text": "Süß, 100 %?"}])]
    chunks = streamed(client, "demo?echo=1&gap_ms=0&first_ms=0&clock=1", "", messages=messages)
    assert json.loads(text_of(chunks)) == messages


def test_json_mode_answers_json(client: OpenAI, text: str) -> None:
    answer = whole(client, "demo?gap_ms=0&first_ms=0", text, response_format={"type": "json_object"})
    assert text in json.loads(text_of(answer))["answer"]


class City(BaseModel):
    name: str
    population: int
    sister: "City | None"


def test_structured_output_satisfies_the_schema(client: OpenAI, text: str) -> None:
    answer = client.chat.completions.parse(model="demo?gap_ms=0&first_ms=0", messages=[said_by("user", text)], response_format=City)
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    assert (parsed.name, parsed.population) == ("demo", 0)


def test_a_limit_cuts_the_answer(client: OpenAI, text: str) -> None:
    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        for ask in (whole, streamed):
            answer: Any = ask(client, "demo?tokens=5&gap_ms=0&first_ms=0", text, **limit)
            assert (text_of(answer), finish_of(answer)) == (numbers(3), "length")
    exact = whole(client, "demo?tokens=5&gap_ms=0&first_ms=0", text, max_tokens=5)
    assert (text_of(exact), finish_of(exact)) == (numbers(5), "stop")


# --- tools ------------------------------------------------------------------------------------------------------


def test_a_tool_is_called_in_pieces(client: OpenAI, text: str) -> None:
    chunks = streamed(client, "demo?gap_ms=1&first_ms=0", text, tools=[WEATHER_TOOL])
    pieces = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    functions = [piece.function for piece in pieces if piece.function is not None]
    assert [piece.id is not None for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [function.name for function in functions] == ["get_weather"] + [None] * (len(pieces) - 1)
    assert json.loads("".join(function.arguments or "" for function in functions)) == {"city": "demo", "days": 1}
    assert len(pieces) > 3
    assert finish_of(chunks) == "tool_calls"


def test_a_tool_is_called_in_a_whole_answer(client: OpenAI, text: str) -> None:
    answer = whole(client, "demo?gap_ms=0&first_ms=0", text, tools=[WEATHER_TOOL])
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert (answer.choices[0].message.content, finish_of(answer)) == (None, "tool_calls")


def test_tool_choice_is_honoured(client: OpenAI, text: str) -> None:
    options: dict[str, Any] = {"tools": [WEATHER_TOOL, CLOCK_TOOL]}
    forced = {"type": "function", "function": {"name": "get_time"}}
    calls = whole(client, "demo?gap_ms=0&first_ms=0", text, tool_choice=forced, **options).choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert (calls[0].function.name, calls[0].function.arguments) == ("get_time", "{}")
    assert text in text_of(whole(client, "demo?gap_ms=0&first_ms=0", text, tool_choice="none", **options))
    with pytest.raises(openai.BadRequestError) as refused:
        whole(client, "demo", text, tool_choice={"type": "function", "function": {"name": "nothing"}}, **options)
    assert refused.value.param == "tool_choice"


def test_tool_results_are_quoted(client: OpenAI, text: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [said_by("user", text), {"role": "assistant", "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_call_id": "c1", "content": "18 degrees"})
    chunks = streamed(client, "demo?gap_ms=0&first_ms=0", "", messages=messages, tools=[WEATHER_TOOL])
    assert "18 degrees" in text_of(chunks)
    assert finish_of(chunks) == "stop"
    again = [*messages, said_by("assistant", "18"), said_by("user", "And tomorrow?")]
    assert finish_of(streamed(client, "demo?gap_ms=0&first_ms=0", "", messages=again, tools=[WEATHER_TOOL])) == "tool_calls"


# --- the wire ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap_ms", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_numbers_come_one_per_chunk(client: OpenAI, text: str, gap_ms: int, count: int) -> None:
    chunks = streamed(client, f"demo?tokens={count}&first_ms=0&gap_ms={gap_ms}", text)
    contents = [chunk.choices[0].delta.content for chunk in chunks]
    assert contents == ["", *(f"{number} " for number in range(1, count + 1)), None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (count + 1) + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_and_only_when_asked(client: OpenAI, text: str) -> None:
    wanted: Any = {"stream_options": {"include_usage": True}}
    chunks = streamed(client, "demo?tokens=7&gap_ms=0&first_ms=0", text, **wanted)
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert usage == whole(client, "demo?tokens=7&gap_ms=0&first_ms=0", text).usage
    assert (usage.completion_tokens, usage.total_tokens) == (7, usage.prompt_tokens + 7)
    assert usage.prompt_tokens > 0


def test_usage_can_be_withheld(client: OpenAI, text: str) -> None:
    model = "demo?tokens=2&usage=0&gap_ms=0&first_ms=0"
    chunks = streamed(client, model, text, stream_options={"include_usage": True})
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)
    assert whole(client, model, text).usage is None


def test_a_long_answer_without_gaps_is_complete(client: OpenAI, text: str) -> None:
    assert text_of(streamed(client, "demo?tokens=3000&gap_ms=0&first_ms=0", text)) == numbers(3000)


def frames(raw: bytes) -> list[bytes]:
    """What the server wrote, write by write: in HTTP/1.1 each is a frame of its own."""
    written, rest = [], raw.partition(b"\r\n\r\n")[2]
    while rest:
        length, _, rest = rest.partition(b"\r\n")
        written.append(rest[: int(length, 16)])
        rest = rest[int(length, 16) + 2 :]
    return written


@pytest.mark.parametrize("gap_ms", [0, 1])
def test_two_chunks_come_in_one_write(client: OpenAI, server: Server, text: str, gap_ms: int) -> None:
    model = f"demo?tokens=5&first_ms=0&gap_ms={gap_ms}&coalesce=1"
    assert [frame.count(b'"delta":{"content":"') for frame in frames(server.ask_raw(model, text))] == [2, 2, 1, 0, 0]
    assert text_of(streamed(client, model, text)) == numbers(5)


@pytest.mark.parametrize("gap_ms", [0, 1])
def test_a_chunk_comes_in_two_writes(client: OpenAI, server: Server, text: str, gap_ms: int) -> None:
    model = f"demo?tokens=2&first_ms=0&gap_ms={gap_ms}&split=1"
    written = frames(server.ask_raw(model, text))
    assert len(written) == 2 * 2 + 2
    assert [frame.endswith(b"\n\n") for frame in written] == [False, True, False, True, True, False]
    assert text_of(streamed(client, model, text)) == numbers(2)


@pytest.mark.parametrize("how", ["coalesce", "split"])
def test_a_fault_comes_after_its_chunk_however_it_is_written(client: OpenAI, text: str, how: str) -> None:
    model = f"demo?tokens=5&first_ms=0&gap_ms=0&drop_at=3&{how}=1"
    received: list[ChatCompletionChunk] = []
    with (
        pytest.raises(openai.APIConnectionError),
        client.chat.completions.create(model=model, messages=[said_by("user", text)], stream=True) as stream,
    ):
        received.extend(stream)
    assert text_of(received) == numbers(3)
    assert text_of(streamed(client, model, text)) == numbers(5)


def test_an_http_1_0_client_gets_no_chunked_frames(server: Server, text: str) -> None:
    received = server.ask_raw("demo?tokens=2&gap_ms=1&first_ms=0", text, version="1.0")
    events = received.partition(b"\r\n\r\n")[2].decode().split("\n\n")
    assert [event.partition(": ")[0] for event in events] == ["data"] * 5 + [""]
    assert events[-2] == "data: [DONE]"


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


# --- pace -------------------------------------------------------------------------------------------------------


def clocks_of(chunks: list[ChatCompletionChunk]) -> list[int]:
    """The clock of each chunk that has a number in it."""
    return [chunk.choices[0].delta.clock for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]  # type: ignore[attr-defined]


def test_chunks_come_on_schedule(client: OpenAI, text: str) -> None:
    late_ms = []
    for _ in range(3):
        asked_ns = time.monotonic_ns()
        clocks = clocks_of(streamed(client, "demo?tokens=200&first_ms=200&gap_ms=3&clock=1", text))
        assert 199 <= (clocks[0] - asked_ns) / 1e6 < 5_000
        late_ms.append((clocks[-1] - clocks[0]) / 1e6 - 199 * 3)
    # Absolute: 199 sleeps in a row would each be a little late and add up; the last chunk is where 199 gaps put it.
    # The best of three, since the machine may stand still in the very moment of the last.
    assert min(late_ms, key=abs) == pytest.approx(0, abs=50)


def test_a_whole_answer_takes_as_long_as_its_stream(client: OpenAI, text: str) -> None:
    started = time.monotonic()
    assert text_of(whole(client, "demo?tokens=11&first_ms=100&gap_ms=20", text)) == numbers(11)
    assert 0.299 <= time.monotonic() - started < 5


@pytest.mark.parametrize("gap_ms", [0, 5])
def test_clock_tells_when_a_chunk_was_sent(client: OpenAI, text: str, gap_ms: int) -> None:
    before_ns = time.monotonic_ns()
    chunks = streamed(client, f"demo?tokens=10&first_ms=0&gap_ms={gap_ms}&clock=1", text, stream_options={"include_usage": True})
    clocks: list[int] = [chunk.clock for chunk in chunks]  # type: ignore[attr-defined]
    in_order = [before_ns, *clocks, time.monotonic_ns()]
    assert in_order == sorted(in_order)
    numbered = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert clocks_of(chunks) == [chunk.clock for chunk in numbered]  # type: ignore[attr-defined]
    assert chunks[-2].choices[0].delta.to_dict() == {}
    assert whole(client, f"demo?tokens=1&first_ms=0&gap_ms={gap_ms}&clock=1", text).clock > before_ns  # type: ignore[attr-defined]
    assert "clock" not in streamed(client, "demo?tokens=1&gap_ms=0&first_ms=0", text)[1].model_fields_set


def test_two_hundred_streams_at_once_are_whole(server: Server) -> None:
    async def one(client: AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(
            model="demo?tokens=20&first_ms=500&gap_ms=50", messages=[said_by("user", f"many {number}")], stream=True
        )
        return text_of([chunk async for chunk in stream])

    async def all_of_them() -> list[str]:
        async with AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(200)))

    assert asyncio.run(all_of_them()) == [numbers(20)] * 200


# --- faults -----------------------------------------------------------------------------------------------------


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
    assert text_of(streamed(client, model, text)) == numbers(1)


def test_calls_are_counted_by_model_and_first_user_message(client: OpenAI, text: str) -> None:
    model = "demo?tokens=1&gap_ms=0&first_ms=0&fail=500&fail_times=2"
    for message in (text, f"{text} too", text + "x" * 300 + "1", text + "x" * 300 + "2"):
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                whole(client, model, message)
        assert text_of(whole(client, model, message)) == numbers(1)
    conversation = [said_by("user", text), said_by("assistant", "Yes"), said_by("user", "Something else")]
    assert text_of(streamed(client, model, "", messages=conversation)) == numbers(1)
    with pytest.raises(openai.InternalServerError):
        whole(client, model.replace("tokens=1", "tokens=2"), text)


def test_no_times_is_no_fault(client: OpenAI, text: str) -> None:
    assert text_of(whole(client, "demo?tokens=1&gap_ms=0&first_ms=0&fail=500&fail_times=0", text)) == numbers(1)


def test_retry_after_is_told_and_the_sdk_comes_back(client: OpenAI, text: str) -> None:
    model = "demo?tokens=1&gap_ms=0&first_ms=0&fail=429&retry_after=1"
    with pytest.raises(openai.RateLimitError) as failed:
        whole(client, model, text)
    assert failed.value.response.headers["retry-after"] == "1"
    started = time.monotonic()
    assert text_of(whole(client.with_options(max_retries=1), model, f"{text} again")) == numbers(1)
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("gap_ms", [0, 5])
@pytest.mark.parametrize("after", [0, 3, 5])
def test_the_socket_drops_after_a_chunk(client: OpenAI, server: Server, text: str, gap_ms: int, after: int) -> None:
    model = f"demo?tokens=5&first_ms=0&gap_ms={gap_ms}&drop_at={after}"
    received: list[ChatCompletionChunk] = []
    with (
        pytest.raises(openai.APIConnectionError) as broken,
        client.chat.completions.create(model=model, messages=[said_by("user", text)], stream=True) as stream,
    ):
        received.extend(stream)
    assert not isinstance(broken.value, openai.APITimeoutError)
    assert text_of(received) == numbers(after)
    assert finish_of(received) is None
    assert text_of(streamed(client, model, text)) == numbers(5)
    assert not [key for key, _ in server.stats()["disconnect_clock"] if text in key]


def test_the_socket_drops_in_a_whole_answer(client: OpenAI, text: str) -> None:
    model = "demo?tokens=5&first_ms=0&gap_ms=1&drop_at=3"
    with pytest.raises(openai.APIConnectionError):
        whole(client, model, text)
    assert text_of(whole(client, model, text)) == numbers(5)


@pytest.mark.parametrize("gap_ms", [0, 5])
def test_a_malformed_chunk_comes_after_a_chunk(client: OpenAI, server: Server, text: str, gap_ms: int) -> None:
    model = f"demo?tokens=5&first_ms=0&gap_ms={gap_ms}&bad_at=3&fail_times=2"
    received: list[ChatCompletionChunk] = []
    with (
        pytest.raises(json.JSONDecodeError),
        client.chat.completions.create(model=model, messages=[said_by("user", text)], stream=True) as stream,
    ):
        received.extend(stream)
    assert text_of(received) == numbers(3)
    raw = server.ask_raw(model, text)
    assert raw.index(b'"3 "') < raw.index(b"chatcmpl-broken") < raw.index(b'"4 "')
    assert text_of(streamed(client, model, text)) == numbers(5)


def test_a_malformed_whole_answer(client: OpenAI, text: str) -> None:
    model = "demo?tokens=5&first_ms=0&gap_ms=0&bad_at=3"
    with pytest.raises((openai.APIError, json.JSONDecodeError)):
        whole(client, model, text)
    assert text_of(whole(client, model, text)) == numbers(5)


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


# --- clients that leave -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        "tokens=5&first_ms=60000",
        "tokens=5&first_ms=0&gap_ms=60000",
        "tokens=1000000&first_ms=0&gap_ms=1",
        "tokens=5&first_ms=0&gap_ms=0&stall_at=3",
        "tokens=5&first_ms=0&gap_ms=1&stall_at=0",
    ],
)
def test_a_client_that_leaves_is_noticed_at_once(server: Server, text: str, options: str, stream: bool) -> None:
    before = server.stats()
    connection = server.send_raw(f"demo?{options}", text, stream=stream)
    until(lambda: server.stats()["open_streams"] == before["open_streams"] + 1)
    time.sleep(0.05)  # into the silence
    left_ns = time.monotonic_ns()
    connection.close()
    noticed_ns = until(lambda: dict(server.stats()["disconnect_clock"]).get(f"demo?{options}|{text}"))
    assert 0 < (noticed_ns - left_ns) / 1e6 < 5_000  # and not at the next chunk, which comes in a minute or never
    after = server.stats()
    assert after["open_streams"] == before["open_streams"]
    assert after["disconnects"] == before["disconnects"] + 1
    assert after["completed"] == before["completed"]


def test_a_client_that_leaves_a_flood_is_noticed(server: Server, text: str) -> None:
    model = "demo?tokens=1000000&first_ms=0&gap_ms=0"
    for _ in range(5):  # sooner or later the server writes before it hears of it
        with server.send_raw(model, text) as connection:
            assert connection.recv(65536)
    until(lambda: [key for key, _ in server.stats()["disconnect_clock"]].count(f"{model}|{text}") == 5)


def test_a_stall_sends_what_came_before_and_then_nothing(client: OpenAI, text: str) -> None:
    model = "demo?tokens=5&first_ms=0&gap_ms=1&stall_at=3"
    impatient = client.with_options(timeout=2)
    received: list[ChatCompletionChunk] = []
    with (
        pytest.raises(openai.APITimeoutError),
        impatient.chat.completions.create(model=model, messages=[said_by("user", text)], stream=True) as stream,
    ):
        received.extend(stream)
    assert text_of(received) == numbers(3)
    assert text_of(streamed(client, model, text)) == numbers(5)


def test_the_sdk_closing_its_stream_is_a_disconnect(server: Server, client: OpenAI, text: str) -> None:
    model = "demo?tokens=1000&first_ms=0&gap_ms=20"
    with client.chat.completions.create(model=model, messages=[said_by("user", text)], stream=True) as stream:
        next(iter(stream))
    until(lambda: f"{model}|{text}" in dict(server.stats()["disconnect_clock"]))


def test_stats_count_calls_and_can_be_reset(text: str) -> None:
    with running() as server:
        for _ in range(2):
            server.ask_raw("demo?tokens=1&first_ms=0&fail=500", text)
        until(lambda: server.stats()["completed"] == 1)
        long_text = text + "x" * 300
        with server.send_raw("demo?first_ms=60000", long_text):
            until(lambda: server.stats()["open_streams"] == 1)
            stats = server.stats()
            assert (stats["requests"], stats["disconnects"]) == (3, 0)
            expected = {f"demo?tokens=1&first_ms=0&fail=500|{text}": 2, f"demo?first_ms=60000|{long_text[:200]}": 1}
            assert stats["by_key"] == expected
            assert server.http("POST", "/stats/reset")[0] == 200
            empty = {"requests": 0, "completed": 0, "disconnects": 0, "by_key": {}, "disconnect_clock": []}
            assert server.stats() == {**empty, "open_streams": 1}
        assert b" 500 " in server.ask_raw("demo?tokens=1&first_ms=0&fail=500", text)


# --- start and end ----------------------------------------------------------------------------------------------


def test_a_taken_port_is_one_clear_line(server: Server) -> None:
    command = [sys.executable, "-m", "dev.model", "--port", str(server.port)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    assert second.returncode == 1
    assert second.stdout == ""
    assert len(second.stderr.splitlines()) == 1
    assert str(server.port) in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_even_with_open_streams(number: signal.Signals) -> None:
    with running() as server:
        assert server.first_line.count("\n") == 1
        options = ("first_ms=60000", "tokens=1000000&first_ms=0&gap_ms=1", "tokens=1&first_ms=0&stall_at=1")
        connections = [server.send_raw(f"demo?{option}", "Hi") for option in options]
        until(lambda: server.stats()["open_streams"] == len(connections))
        started = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(timeout=10) == 0
        assert time.monotonic() - started < 8
        for connection in connections:
            connection.close()
