"""`/v1/embeddings`: a worker asks the provider for them."""

from typing import Annotated, Literal

import orjson
from flask import Blueprint, Response
from pydantic import Field

from api.context import context
from api.dialects.openai import foreground, ids, unknown
from api.dialects.openai.errors import ProviderFailed
from api.dialects.openai.request import idempotency_key, read_body
from api.dialects.openai.unknown import Open
from api.guards import principal
from api.jobs.submission import Submission
from api.schemas.jobs import ModelName
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Kind, Status

MAX_INPUTS = 2_048
MAX_DIMENSIONS = 65_536
JSON = "application/json"

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
    job = context().submitter.submit(principal().user_id, submission, idempotency_key())
    job = foreground.wait_for_end(job)
    if job.status is not Status.COMPLETED:
        raise ProviderFailed(job)
    return ids.with_job_id(Response(orjson.dumps(orjson.loads(text_of(job.message))), content_type=JSON), job)
