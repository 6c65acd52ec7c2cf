"""`/v1/embeddings`: a worker asks the provider for them."""

from typing import Annotated, Literal

from flask import Blueprint, Response
from pydantic import Field

from api.dialects.openai import foreground, unknown
from api.dialects.openai.passed_on.answer import passed_on
from api.dialects.openai.request import read_body
from api.dialects.openai.unknown import Open
from api.jobs.submission import Submission
from api.schemas.jobs import ModelName
from shared.json_types import JsonObject
from shared.models import Kind

MAX_INPUTS = 2_048
MAX_DIMENSIONS = 65_536

Tokens = Annotated[list[int], Field(min_length=1)]

blueprint = Blueprint("embeddings", __name__)


class EmbeddingRequest(Open):
    """What is to be embedded: a text or its tokens, or several of them. The model has no default: no other's vectors compare."""

    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[str] | list[int] | list[Tokens], Field(min_length=1, max_length=MAX_INPUTS)]
    )
    model: ModelName
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=MAX_DIMENSIONS)
    user: str | None = None

    def messages(self) -> list[JsonObject]:
        """Write its texts as messages, by which their length is limited and their tokens are estimated."""
        texts = [self.input] if isinstance(self.input, str) else [part for part in self.input if isinstance(part, str)]
        return [{"role": "user", "content": text} for text in texts] or [{"role": "user", "content": "[tokens]"}]


@blueprint.post("/embeddings")
def embed() -> Response:
    """Embed an input; the provider's list is passed on as it is."""
    body = read_body(EmbeddingRequest)
    unknown.judge(body, may_forward=True)
    parameters = body.model_dump(exclude_none=True, exclude={"model"})
    submission = Submission(messages=body.messages(), kind=Kind.EMBEDDING, model=body.model, parameters=parameters, stored=False)
    return passed_on(foreground.wait_for_end(foreground.submit(submission)))
