"""Which provider answers what: embeddings, moderation, an agent, or the model; where wanted, moderation before the last two."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from shared.agents.requests import AGENT_MODEL
from shared.models import Kind
from workers.providers.base import Chunk, CompletionRequest, Provider
from workers.providers.choices import Choices
from workers.providers.moderation import Moderation


class Routing:
    """A provider that passes each completion request on to the right one."""

    def __init__(self, model: Provider, embeddings: Provider, moderation: Moderation, agent: Provider, *, moderate: bool) -> None:
        """Keep the providers; `moderate`: judge the user's messages before every completion."""
        self._model = model
        self._choices = Choices(model)
        self._embeddings = embeddings
        self._moderation = moderation
        self._agent = agent
        self._moderate = moderate

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Answer; see `Provider.answer`."""
        if request.refusal is not None:
            raise request.refusal
        if self._moderate and request.kind is Kind.CHAT:
            async with aclosing(self._moderation.check(request)) as signs_of_life:
                async for sign in signs_of_life:
                    yield sign
        async with aclosing(self._provider(request).answer(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _provider(self, request: CompletionRequest) -> Provider:
        if request.kind is Kind.MODERATION:
            return self._moderation
        if request.kind is Kind.EMBEDDING:
            return self._embeddings
        if request.model == AGENT_MODEL:
            return self._agent
        return self._choices if request.parameters.get("n", 1) > 1 else self._model
