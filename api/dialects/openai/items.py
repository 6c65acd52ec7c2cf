"""The shapes of items that a request may send: those of openai/openai-openapi 2.3.0, as far as chat completions can say them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from api.http.bodies import Body
from shared.json_types import JsonObject

Status = Literal["in_progress", "completed", "incomplete"] | None
MESSAGE = "message"


class InputText(Body):
    """A text of the input."""

    type: Literal["input_text", "text"]
    text: str


class OutputText(Body):
    """A text of the model, sent back."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None


class Refusal(Body):
    """A refusal of the model, sent back."""

    type: Literal["refusal"]
    refusal: str


class InputImage(Body):
    """An image: a URL, or the image itself as a data URL."""

    type: Literal["input_image"]
    image_url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] | None = None


Part = Annotated[InputText | OutputText | Refusal | InputImage, Field(discriminator="type")]


class MessageItem(Body):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: str | None = None
    status: Status = None
    phase: str | None = None


class FunctionCallItem(Body):
    """A function that the model called."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: Status = None
    parsed_arguments: Any = None


class FunctionOutputItem(Body):
    """The result of a function call."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText]
    id: str | None = None
    name: str | None = None
    status: Status = None


class ReasoningItem(Body):
    """Thoughts of a model, sent back. No chat completion takes them, so they are left out of the messages."""

    type: Literal["reasoning"]
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: Status = None


def _kind(item: Any) -> str:
    """Return an item's type; without one it is a message."""
    return str(item.get("type") or MESSAGE) if isinstance(item, dict) else str(getattr(item, "type", ""))


Item = Annotated[
    Annotated[MessageItem, Tag(MESSAGE)]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


def dumped(items: Sequence[Item]) -> list[JsonObject]:
    """Return items as they were sent, each with its type."""
    return [{"type": item.type, **item.model_dump(exclude_none=True)} for item in items]
