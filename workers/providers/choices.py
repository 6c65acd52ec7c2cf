"""Several choices of one answer: the model is asked once for each, one after the other, whatever its provider makes of `n`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from shared.json_types import JsonObject
from workers.providers.base import COUNTS, Chunk, CompletionRequest, Provider


class Choices:
    """A provider that asks another as often as there are to be choices."""

    def __init__(self, model: Provider) -> None:
        """Keep the one that is asked."""
        self._model = model

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Yield all choices' chunks, each with its choice's number; see `Provider.answer`. The usage is that of all together."""
        parameters = dict(request.parameters)
        count = parameters.pop("n", 1)
        one = replace(request, parameters=parameters)
        first_reason, usage = None, None
        for number in range(count):
            async with aclosing(self._model.answer(one)) as chunks:
                async for chunk in chunks:
                    if count == 1:
                        yield chunk
                        continue
                    usage = _sum(usage, chunk.usage)
                    if number == 0:
                        first_reason = chunk.finish_reason or first_reason
                    yield chunk._replace(choice=number, finish_reason=None, choice_reason=chunk.finish_reason, usage=None)
        if count > 1:
            yield Chunk(finish_reason=first_reason, usage=usage)


def _sum(usage: JsonObject | None, more: JsonObject | None) -> JsonObject | None:
    """Add the counts of two usages; what else they hold is that of one alone, and left out."""
    if usage is None or more is None:
        return usage or (more and {name: more.get(name) or 0 for name in COUNTS})
    return {name: (usage.get(name) or 0) + (more.get(name) or 0) for name in COUNTS}
