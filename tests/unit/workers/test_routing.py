"""Who is asked what."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from shared.models import Kind
from workers.providers.base import Chunk, CompletionRequest, Provider, ProviderError
from workers.providers.moderation import Moderation
from workers.providers.routing import Routing

FLAGGED = ProviderError("Flagged.", code="content_flagged", retryable=False)


class Somebody:
    """A provider who says his name, and tells whether he was hung up on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.hung_up = 0

    async def answer(self, question: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Say it twice."""
        try:
            yield Chunk({"content": self._name})
            yield Chunk({"content": question.model}, "stop")
        finally:
            self.hung_up += 1


class Judge(Somebody):
    """A moderation that flags everything that is called so."""

    async def check(self, question: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Judge by the model's name, of all things."""
        yield Chunk()
        if question.model == "flagged":
            raise FLAGGED


def routing(*, agent: Provider | None = None, moderate: bool = False, model: Provider | None = None) -> Routing:
    return Routing(
        model or Somebody("model"), cast("Moderation", Judge("moderation")), agent or Somebody("agent"), moderate=moderate
    )


def said(to: Routing, model: str = "m", **fields: Any) -> list[Chunk]:
    async def collect() -> list[Chunk]:
        return [piece async for piece in to.answer(CompletionRequest(model, [], **fields))]

    return asyncio.run(collect())


def test_each_question_goes_to_the_right_one() -> None:
    agent = Somebody("agent")

    assert said(routing(agent=agent)) == [Chunk({"content": "model"}), Chunk({"content": "m"}, "stop")]
    assert said(routing(agent=agent), "agent")[0] == Chunk({"content": "agent"})
    assert said(routing(agent=agent), "agent-2")[0] == Chunk({"content": "model"})
    assert said(routing(agent=agent), kind=Kind.MODERATION)[0] == Chunk({"content": "moderation"})


def test_where_it_is_wanted_everything_is_judged_first() -> None:
    # The sign of life between the two keeps a slow judge from looking like a stalled model.
    assert said(routing(moderate=True))[:2] == [Chunk(), Chunk({"content": "model"})]
    for model in ("flagged", "agent"):
        assert said(routing(agent=Somebody("agent")), model)[0].delta is not None
    with pytest.raises(ProviderError, match=r"Flagged\."):
        said(routing(moderate=True), "flagged")


def test_an_agents_question_is_judged_too() -> None:
    assert said(routing(moderate=True, agent=Somebody("agent")), "agent")[:2] == [Chunk(), Chunk({"content": "agent"})]


def test_a_judgement_that_is_asked_for_is_not_judged() -> None:
    assert said(routing(moderate=True), "flagged", kind=Kind.MODERATION)[0] == Chunk({"content": "moderation"})


def test_what_must_not_be_asked_is_asked_of_nobody() -> None:
    refusal = ProviderError("No.", code="provider_key_unreadable", retryable=False)
    with pytest.raises(ProviderError) as refused:
        said(routing(moderate=True), "flagged", refusal=refusal)

    assert refused.value is refusal


def test_hanging_up_reaches_whoever_answers() -> None:
    model = Somebody("model")

    async def hang_up() -> None:
        answer = routing(model=model).answer(CompletionRequest("m", []))
        await anext(answer)
        await answer.aclose()
        assert model.hung_up == 1

    asyncio.run(hang_up())
