"""A provider whose HTTP is odd: bytes from a socket, through the official SDK and its transport."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from dev.testing.stack import Redis
from shared.redis import redis_clients
from tests.scripted_provider import ScriptedProvider
from workers.providers import model_list
from workers.providers.base import Chunk, CompletionRequest, ProviderError
from workers.providers.model_list import ModelListUpdater
from workers.providers.openai import provider as openai_provider
from workers.providers.openai.provider import OpenAIProvider

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUEST = CompletionRequest("m", [{"role": "user", "content": "Hello"}])


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(reason: str | None = None, **delta: str) -> bytes:
    return chunked(b"data: %s\n\n" % orjson.dumps({"choices": [{"delta": delta, "finish_reason": reason}]}))


@contextmanager
def answering(answer: bytes, *, hangs_up: bool = True) -> Iterator[ScriptedProvider]:
    server = ScriptedProvider({"": [answer], "m": [answer]}, hangs_up=hangs_up)
    yield server
    server.close()


def ask(url: str) -> list[Chunk]:
    async def collect() -> list[Chunk]:
        provider = OpenAIProvider("sk-0123456789", url)
        try:
            return [chunk async for chunk in provider.answer(REQUEST)]
        finally:
            await provider.close()

    return asyncio.run(asyncio.wait_for(collect(), 20))


def test_empty_variables_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "")

    async def urls() -> list[str]:
        provider = OpenAIProvider("sk-0123456789", "")
        await provider.close()
        return [str(provider.client.base_url), str(provider.client.with_options(api_key="sk-of-a-user").base_url)]

    assert asyncio.run(urls()) == ["https://api.openai.com/v1/"] * 2
    with answering(HEAD + event("stop", content="a")) as server:
        assert ask(server.url)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_provider_on_this_machine_is_asked_directly(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with answering(HEAD + event("stop", content="a")) as server, answering(HEAD) as proxy:
        monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        assert ask(server.url)
        assert ask(server.url.replace("127.0.0.1", "localhost"))
    assert proxy.calls.total() == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: %s\r\n\r\n" % (b"x" * 70_000),
        HEAD + b"ZZ\r\n",
        HEAD + event(content="a"),
        HEAD + event(content="a") + b"ZZ\r\n",
    ],
    ids=["rubbish", "a header too long", "no chunk", "cut off", "cut off by rubbish"],
)
def test_what_breaks_off_may_go_well_another_time(answer: bytes) -> None:
    with answering(answer) as server, pytest.raises(ProviderError) as caught:
        ask(server.url)
    assert (caught.value.reason, caught.value.retryable) == ("provider_broke_off", True)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_an_answer_that_is_whole_needs_no_end(monkeypatch: pytest.MonkeyPatch, *, hangs_up: bool) -> None:
    monkeypatch.setattr(openai_provider, "USAGE_SECONDS", 0.2)
    with answering(HEAD + event(content="a") + event("stop"), hangs_up=hangs_up) as server:
        assert ask(server.url) == [Chunk({"content": "a"}), Chunk({}, "stop")]


@pytest.mark.parametrize("reason", ["", "stop"])
def test_a_reason_with_every_chunk_ends_nothing(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    monkeypatch.setattr(openai_provider, "USAGE_SECONDS", 0.2)
    with answering(HEAD + event(reason, content="a") + event("", content="b")) as server, pytest.raises(ProviderError) as caught:
        ask(server.url)
    assert caught.value.reason == "provider_broke_off"
    with answering(HEAD + event(reason, content="a") + event("stop", content="b")) as server:
        assert [chunk.delta for chunk in ask(server.url)] == [{"content": "a"}, {"content": "b"}]


def test_a_comment_is_a_sign_of_life() -> None:
    body = chunked(b": PROCESSING\n\n") + event(content="a") + chunked(b"event: ping\ndata: x\n\n") + event("stop")
    with answering(HEAD + body) as server:
        assert ask(server.url) == [Chunk(), Chunk({"content": "a"}), Chunk(), Chunk({}, "stop")]


@pytest.mark.parametrize("hangs_up", [True, False])
@pytest.mark.parametrize("behind", [b"", chunked(b"data: {\n\n"), chunked(b"data: [DONE]\n\n")], ids=["nothing", "rubbish", "done"])
def test_an_empty_answer_is_one_whatever_follows(monkeypatch: pytest.MonkeyPatch, behind: bytes, *, hangs_up: bool) -> None:
    monkeypatch.setattr(openai_provider, "USAGE_SECONDS", 0.2)
    with answering(HEAD + event("stop") + behind, hangs_up=hangs_up) as server, pytest.raises(ProviderError) as caught:
        ask(server.url)
    assert caught.value.reason == "provider_empty"


def test_what_is_odd_behind_a_whole_answer_takes_nothing_away() -> None:
    for odd in (chunked(b'data: {"choices": "x"}\n\n'), chunked(b"data: {\n\n"), chunked(b'data: {"error": "too late"}\n\n')):
        with answering(HEAD + event(content="a") + event("stop") + odd + b"0\r\n\r\n") as server:
            assert ask(server.url) == [Chunk({"content": "a"}), Chunk({}, "stop")]


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"",
        b"<html>",
        b'{"data": [null]}',
        b'{"data": ["a"]}',
        b'{"data": {}}',
        b'{"data": [{"id": "m", "created": %d}]}' % 2**70,
    ],
)
def test_an_odd_list_of_models_ends_no_worker(empty_redis: Redis, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(model_list, "UPDATE_SECONDS", 0.01)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def keep(url: str) -> None:
        provider, client = OpenAIProvider("k", url), redis_clients.nonblocking(empty_redis.url)
        keeping = asyncio.create_task(ModelListUpdater(client, provider.client).run())
        async with asyncio.timeout(20):
            while not server.calls.total():
                await asyncio.sleep(0.01)
            await asyncio.wait([keeping], timeout=0.2)
        assert not keeping.done(), keeping.exception()
        while not keeping.done():
            keeping.cancel()
            await asyncio.wait([keeping], timeout=0.1)  # redis-py may have swallowed the cancel: see Loop.stop
        await provider.close()
        await client.aclose()

    with answering(head + body) as server:
        asyncio.run(asyncio.wait_for(keep(server.url), 30))
