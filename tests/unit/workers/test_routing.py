"""Which provider answers what."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from shared.models import Kind
from workers.providers.base import Chunk, CompletionRequest, Provider, ProviderError
from workers.providers.moderation import Moderation
from workers.providers.routing import Routing

FLAGGED = ProviderError("Flagged.", code="content_flagged", retryable=False)


class NamedProvider:
    """A provider that answers with its name, and counts how often it was closed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.closed = 0

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Send two chunks."""
        try:
            yield Chunk({"content": self._name})
            yield Chunk({"content": request.model}, "stop")
        finally:
            self.closed += 1


class Judge(NamedProvider):
    """A moderation that flags everything that is called so."""

    async def check(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Judge by the model's name."""
        yield Chunk()
        if request.model == "flagged":
            raise FLAGGED


def routing(*, agent: Provider | None = None, moderate: bool = False, model: Provider | None = None) -> Routing:
    moderation = cast("Moderation", Judge("moderation"))
    embeddings = NamedProvider("embeddings")
    return Routing(model or NamedProvider("model"), embeddings, moderation, agent or NamedProvider("agent"), moderate=moderate)


def answer(to: Routing, model: str = "m", **fields: Any) -> list[Chunk]:
    async def collect() -> list[Chunk]:
        return [chunk async for chunk in to.answer(CompletionRequest(model, [], **fields))]

    return asyncio.run(collect())


def test_each_request_goes_to_the_right_provider() -> None:
    agent = NamedProvider("agent")

    assert answer(routing(agent=agent)) == [Chunk({"content": "model"}), Chunk({"content": "m"}, "stop")]
    assert answer(routing(agent=agent), "agent")[0] == Chunk({"content": "agent"})
    assert answer(routing(agent=agent), kind=Kind.EMBEDDING)[0] == Chunk({"content": "embeddings"})
    assert answer(routing(agent=agent), "agent-2")[0] == Chunk({"content": "model"})
    assert answer(routing(agent=agent), kind=Kind.MODERATION)[0] == Chunk({"content": "moderation"})


def test_where_it_is_wanted_everything_is_judged_first() -> None:
    # The sign of life between the two keeps a slow judge from looking like a stalled model.
    assert answer(routing(moderate=True))[:2] == [Chunk(), Chunk({"content": "model"})]
    for model in ("flagged", "agent"):
        assert answer(routing(agent=NamedProvider("agent")), model)[0].delta is not None
    with pytest.raises(ProviderError, match=r"Flagged\."):
        answer(routing(moderate=True), "flagged")


def test_a_request_for_an_agent_is_judged_too() -> None:
    assert answer(routing(moderate=True, agent=NamedProvider("agent")), "agent")[:2] == [Chunk(), Chunk({"content": "agent"})]


def test_a_judgement_that_is_asked_for_is_not_judged() -> None:
    assert answer(routing(moderate=True), "flagged", kind=Kind.MODERATION)[0] == Chunk({"content": "moderation"})


def test_a_request_with_a_refusal_reaches_no_provider() -> None:
    refusal = ProviderError("No.", code="provider_key_unreadable", retryable=False)
    with pytest.raises(ProviderError) as refused:
        answer(routing(moderate=True), "flagged", refusal=refusal)

    assert refused.value is refusal


def test_closing_reaches_the_provider_that_answers() -> None:
    model = NamedProvider("model")

    async def close() -> None:
        answer = routing(model=model).answer(CompletionRequest("m", []))
        await anext(answer)
        await answer.aclose()
        assert model.closed == 1

    asyncio.run(close())
