"""Who answers what: moderation, an agent, or the model; with moderation before them all where the operator wants it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from shared.agents.requests import AGENT_MODEL
from shared.models import Kind
from workers.providers.base import Chunk, CompletionRequest, Provider
from workers.providers.moderation import Moderation


class Routing:
    """A provider that passes each question on to the right one."""

    def __init__(self, model: Provider, moderation: Moderation, agent: Provider, *, moderate: bool) -> None:
        """Prepare; `moderate`: judge every question before it is asked."""
        self._model = model
        self._moderation = moderation
        self._agent = agent
        self._moderate = moderate

    async def answer(self, question: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Answer; see `Provider.answer`."""
        if question.refusal is not None:
            raise question.refusal
        if self._moderate and question.kind is Kind.CHAT:
            async with aclosing(self._moderation.check(question)) as signs:
                async for sign in signs:
                    yield sign
        async with aclosing(self._chosen(question).answer(question)) as pieces:
            async for piece in pieces:
                yield piece

    def _chosen(self, question: CompletionRequest) -> Provider:
        if question.kind is Kind.MODERATION:
            return self._moderation
        if question.model != AGENT_MODEL:
            return self._model
        return self._agent
