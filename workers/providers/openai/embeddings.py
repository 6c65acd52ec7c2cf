"""Embeddings of the provider: the answer's text is its list as JSON, so that it is a job like any other."""

from collections.abc import AsyncGenerator
from typing import Any

import orjson
from openai import AsyncOpenAI

from workers.providers.base import Chunk, CompletionRequest
from workers.providers.openai import odd
from workers.providers.openai.errors import CALL_ERRORS, malformed, provider_error, stream_error


class Embeddings:
    """A provider whose answers are lists of embeddings."""

    def __init__(self, client: AsyncOpenAI) -> None:
        """Keep the client, the one that completions are requested with."""
        self._client = client

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Answer with the list as JSON; see `Provider.answer`."""
        client = self._client.with_options(api_key=request.api_key) if request.api_key else self._client
        asked: Any = {"model": request.model, "input": "", "extra_body": request.parameters}
        encoding = request.parameters.get("encoding_format", "float")  # else the SDK asks for base64
        try:
            response = await client.embeddings.with_raw_response.create(**asked, encoding_format=encoding)
        except CALL_ERRORS as error:
            raise provider_error(error) from error
        listed = _read(response.content, client.api_key)
        yield Chunk({"content": orjson.dumps(listed).decode()}, "stop", odd.usage_of(listed.get("usage")))


def _read(body: bytes, key: str) -> dict[str, Any]:
    try:
        listed = orjson.loads(body)
    except orjson.JSONDecodeError:
        listed = None
    if (error := odd.error_of(listed)) is not None:
        raise stream_error(error, key)
    if not isinstance(listed, dict) or not isinstance(listed.get("data"), list):
        raise malformed("The provider sent malformed embeddings.")
    return listed
