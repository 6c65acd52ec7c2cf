"""Judge messages by the provider's moderations endpoint: for jobs that ask for a moderation, and before completions."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any

import orjson
from openai import AsyncOpenAI

from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models.error_codes import JobErrorCode
from workers.providers.base import COUNTS, Chunk, CompletionRequest, ProviderError
from workers.providers.openai.errors import CALL_ERRORS, malformed, provider_error

JUDGED = frozenset(("text", "image_url", "refusal"))
"""Kinds of parts that are judged, or are the model's own."""
IMAGE_MODELS = "omni"
"""Part of the name of every moderation model that judges images. Such a model takes one image a call."""


class Moderation:
    """A provider whose answers are moderation objects."""

    def __init__(self, client: AsyncOpenAI, model: str) -> None:
        """Keep the client, the one that completions are requested with, and the name of the moderation model."""
        self._client = client
        self._model = model

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Answer with the moderation object as JSON; see `Provider.answer`. Of several images it has all results."""
        moderations: list[JsonObject] = []
        async for moderation in self._moderations(request):
            moderations.append(moderation)
            yield Chunk()
        whole = {**moderations[0], "results": [result for each in moderations for result in each["results"]]}
        yield Chunk({"content": orjson.dumps(whole).decode()}, "stop", dict.fromkeys(COUNTS, 0))

    async def check(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Judge the user's messages of a request; the chunks are empty signs of life.

        Raises:
            ProviderError: they are flagged (`content_flagged`, final), or could not be judged.
        """
        categories: set[str] = set()
        async for moderation in self._moderations(request):
            categories.update(_flagged(moderation))
            yield Chunk()
        if categories:
            message = f"The message was flagged by moderation: {', '.join(sorted(categories))}."
            raise ProviderError(message, code=JobErrorCode.CONTENT_FLAGGED, retryable=False)

    async def _moderations(self, request: CompletionRequest) -> AsyncGenerator[JsonObject, None]:
        client = self._client.with_options(api_key=request.api_key) if request.api_key else self._client
        for content in _inputs(request, with_images=IMAGE_MODELS in self._model):
            yield await self._moderation(client, content)

    async def _moderation(self, client: AsyncOpenAI, content: Any) -> JsonObject:
        try:
            response = await client.moderations.with_raw_response.create(model=self._model, input=content)
        except CALL_ERRORS as error:
            raise provider_error(error, "provider's moderation") from error
        return _read(response.content)


def _inputs(request: CompletionRequest, *, with_images: bool) -> Iterator[Any]:
    """Yield the input of each call: texts together, a message with images by itself, one image a call."""
    texts: list[str] = []
    for message in _user_messages(request):
        parts = message.get("content")
        _refuse_others(parts)
        images = [_image(part) for part in parts if part["type"] == "image_url"] if with_images and isinstance(parts, list) else []
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


def _refuse_others(parts: Any) -> None:
    """Raise a ProviderError for parts that no moderation can judge, such as files: what is not judged is not sent to the model."""
    kinds = {str(part.get("type")) for part in parts} - JUDGED if isinstance(parts, list) else set()
    if kinds:
        message = f"The message has parts that cannot be moderated: {', '.join(sorted(kinds))}."
        raise ProviderError(message, code=JobErrorCode.CONTENT_FLAGGED, retryable=False)


def _user_messages(request: CompletionRequest) -> list[JsonObject]:
    if request.user_messages is not None:
        return request.user_messages
    return [message for message in request.messages if message["role"] == "user"][-1:] or request.messages[-1:]


def _image(part: JsonObject) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": part["image_url"]["url"]}}


def _read(body: bytes) -> JsonObject:
    """Read a moderation object. One without results is malformed: it must not pass for approval."""
    try:
        moderation: JsonObject = orjson.loads(body)
        if not all([isinstance(result["flagged"], bool) for result in moderation["results"]] or [False]):
            raise TypeError("no result")
        list(_flagged(moderation))
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise malformed("The provider sent a malformed moderation.") from error
    return moderation


def _flagged(moderation: JsonObject) -> Iterable[str]:
    """Return the categories of what is flagged; flagged without a category counts, too."""
    for result in moderation["results"]:
        if result["flagged"]:
            yield from [name for name, is_so in (result.get("categories") or {}).items() if is_so] or ["unnamed"]
