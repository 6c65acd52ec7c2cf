"""`/v1/moderations`: a worker asks the provider's moderation."""

from typing import Annotated, Literal

from flask import Blueprint, Response
from pydantic import Field

from api.context import context
from api.dialects.openai import foreground
from api.dialects.openai.passed_on.answer import passed_on
from api.dialects.openai.request import read_body
from api.http.bodies import Body
from api.jobs.submission import Submission
from api.schemas.chat import TextPart
from api.schemas.jobs import ModelName
from shared.json_types import JsonObject
from shared.models import Kind

MAX_INPUTS = 100

blueprint = Blueprint("moderations", __name__)


class ImageUrl(Body):
    """Where an image is."""

    url: str = Field(min_length=1)


class ImagePart(Body):
    """An image to judge."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ModerationRequest(Body):
    """What is to be judged: a text, several texts, or the parts of one message."""

    input: str | Annotated[list[str] | list[Part], Field(min_length=1, max_length=MAX_INPUTS)]
    model: ModelName | None = None

    def messages(self) -> list[JsonObject]:
        """Write it as messages, one for each judgement."""
        if isinstance(self.input, str):
            return [{"role": "user", "content": self.input}]
        texts = [each for each in self.input if isinstance(each, str)]
        if texts:
            return [{"role": "user", "content": text} for text in texts]
        return [{"role": "user", "content": [part.model_dump() for part in self.input if not isinstance(part, str)]}]


@blueprint.post("/moderations")
def judge() -> Response:
    """Judge an input; the provider's moderation object is passed on as it is."""
    body = read_body(ModerationRequest)
    submission = Submission(
        messages=body.messages(), kind=Kind.MODERATION, model=body.model or context().config.moderation_model, stored=False
    )
    return passed_on(context().jobs.wait_for_end(foreground.submit(submission)))
