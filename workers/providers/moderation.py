"""Judges messages by the provider's moderations endpoint, for those who ask for a judgement and before others are answered."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import orjson
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from workers.providers.base import COUNTS, Piece, ProviderError, Question
from workers.providers.openai import broken, cause, refused

FLAGGED = "content_flagged"


class Moderation:
    """A provider whose answers are moderation objects."""

    def __init__(self, client: AsyncOpenAI, model: str) -> None:
        """Prepare to ask `model`, a moderation model, through the client that answers are had by."""
        self._client = client
        self._model = model

    async def answer(self, question: Question) -> AsyncGenerator[Piece, None]:
        """Answer with the moderation object as JSON; see `Provider.answer`."""
        judgement = await self._judge(question)
        yield Piece({"content": orjson.dumps(judgement).decode()}, "stop", dict.fromkeys(COUNTS, 0))

    async def check(self, question: Question) -> None:
        """Judge what is about to be asked.

        Raises:
            ProviderError: it is flagged (`content_flagged`, final), or nobody could judge it.
        """
        judgement = await self._judge(question)
        if categories := sorted(set(_flagged(judgement))):
            message = f"The message was flagged by moderation: {', '.join(categories)}."
            raise ProviderError(message, code=FLAGGED, retryable=False)

    async def _judge(self, question: Question) -> dict[str, Any]:
        client = self._client.with_options(api_key=question.api_key) if question.api_key else self._client
        try:
            judged = await client.moderations.create(model=self._model, input=_input(question))
            judgement: dict[str, Any] = judged.to_dict(mode="json")
        except APIStatusError as error:
            raise refused(error) from error
        except (APIConnectionError, OSError) as error:
            raise broken(f"The connection to the provider's moderation failed: {cause(error)}") from error
        except OpenAIError as error:
            raise ProviderError(str(error), code="provider_error", retryable=False) from error
        if not isinstance(judgement.get("results"), list):
            raise broken("The provider sent a malformed moderation.", code="provider_malformed")
        return judgement


def _input(question: Question) -> Any:
    """Take the newest message of the user: its text, or its parts where there are images."""
    said = [message for message in question.messages if message["role"] == "user"]
    content = said[-1].get("content") if said else ""
    if isinstance(content, str) or content is None:
        return content or ""
    return [part if part["type"] == "text" else _image(part) for part in content]


def _image(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": part["image_url"]["url"]}}


def _flagged(judgement: dict[str, Any]) -> Iterable[str]:
    """Name the categories of what is flagged; flagged without one is flagged all the same."""
    for result in judgement["results"]:
        if result.get("flagged"):
            yield from [name for name, is_so in (result.get("categories") or {}).items() if is_so] or ["unnamed"]
