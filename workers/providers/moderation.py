"""Judges messages by the provider's moderations endpoint, for those who ask for a judgement and before others are answered."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any

import orjson
from openai import APIStatusError, AsyncOpenAI

from shared.messages.answer import text_of
from workers.providers.base import COUNTS, Chunk, CompletionRequest, ProviderError
from workers.providers.openai import CUT_OFF, UNASKABLE, broken, cause, refused, unaskable

FLAGGED = "content_flagged"
SEES_IMAGES = "omni"
"""What the name of a moderation model has in it that judges images. It takes one a call."""


class Moderation:
    """A provider whose answers are moderation objects."""

    def __init__(self, client: AsyncOpenAI, model: str) -> None:
        """Prepare to ask `model`, a moderation model, through the client that answers are had by."""
        self._client = client
        self._model = model

    async def answer(self, question: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Answer with the moderation object as JSON; see `Provider.answer`. Of several images it has all results."""
        said: list[dict[str, Any]] = []
        async for judgement in self._judgements(question):
            said.append(judgement)
            yield Chunk()
        whole = {**said[0], "results": [result for judgement in said for result in judgement["results"]]}
        yield Chunk({"content": orjson.dumps(whole).decode()}, "stop", dict.fromkeys(COUNTS, 0))

    async def check(self, question: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Judge what is about to be asked; the pieces are signs of life.

        Raises:
            ProviderError: it is flagged (`content_flagged`, final), or nobody could judge it.
        """
        categories: set[str] = set()
        async for judgement in self._judgements(question):
            categories.update(_flagged(judgement))
            yield Chunk()
        if categories:
            message = f"The message was flagged by moderation: {', '.join(sorted(categories))}."
            raise ProviderError(message, code=FLAGGED, retryable=False)

    async def _judgements(self, question: CompletionRequest) -> AsyncGenerator[dict[str, Any], None]:
        client = self._client.with_options(api_key=question.api_key) if question.api_key else self._client
        for judged in _inputs(question, sees=SEES_IMAGES in self._model):
            yield await self._judgement(client, judged)

    async def _judgement(self, client: AsyncOpenAI, judged: Any) -> dict[str, Any]:
        try:
            response = await client.moderations.with_raw_response.create(model=self._model, input=judged)
        except APIStatusError as error:
            raise refused(error) from error
        except CUT_OFF as error:
            raise broken(f"The connection to the provider's moderation failed: {cause(error)}") from error
        except UNASKABLE as error:
            raise unaskable(error) from error
        return _read(response.content)


def _inputs(question: CompletionRequest, *, sees: bool) -> Iterator[Any]:
    """Tell what is judged, call by call: texts together, a message with images by itself, an image a call."""
    texts: list[str] = []
    for message in _said(question):
        parts = message.get("content")
        images = [_image(part) for part in parts if part["type"] == "image_url"] if sees and isinstance(parts, list) else []
        if not images:
            texts.append(text_of(message))
            continue
        if texts:
            yield texts if len(texts) > 1 else texts[0]
            texts = []
        text = text_of(message)
        yield [{"type": "text", "text": text}, images[0]] if text else images[:1]
        yield from ([image] for image in images[1:])
    if texts:
        yield texts if len(texts) > 1 else texts[0]


def _said(question: CompletionRequest) -> list[dict[str, Any]]:
    if question.user_messages is not None:
        return question.user_messages
    return [message for message in question.messages if message["role"] == "user"][-1:] or question.messages[-1:]


def _image(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": part["image_url"]["url"]}}


def _read(body: bytes) -> dict[str, Any]:
    """Read a moderation object. What judges nothing is none: silence must not pass for approval."""
    try:
        judgement: dict[str, Any] = orjson.loads(body)
        if not all([isinstance(result["flagged"], bool) for result in judgement["results"]] or [False]):
            raise TypeError("no judgement")
        list(_flagged(judgement))
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise broken("The provider sent a malformed moderation.", code="provider_malformed") from error
    return judgement


def _flagged(judgement: dict[str, Any]) -> Iterable[str]:
    """Name the categories of what is flagged; flagged without one is flagged all the same."""
    for result in judgement["results"]:
        if result["flagged"]:
            yield from [name for name, is_so in (result.get("categories") or {}).items() if is_so] or ["unnamed"]
