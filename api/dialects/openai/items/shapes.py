"""The shapes of items that a request may send: those of openai/openai-openapi 2.3.0, as far as chat completions can say them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag

from api.dialects.openai.unknown import Open, WithoutEffect
from shared.json_types import JsonObject

Status = Literal["in_progress", "completed", "incomplete"] | None
MESSAGE = "message"
REFERENCE = "item_reference"


class InputText(Open):
    """A text of the input."""

    type: Literal["input_text", "text"]
    text: str


class OutputText(Open):
    """A text of the model, sent back."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None


class Refusal(Open):
    """A refusal of the model, sent back."""

    type: Literal["refusal"]
    refusal: str


class InputImage(Open):
    """An image: a URL, or the image itself as a data URL."""

    type: Literal["input_image"]
    image_url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFile(Open):
    """A file: itself as a data URL. Files that were uploaded before are nowhere here."""

    type: Literal["input_file"]
    file_data: str = Field(min_length=1)
    filename: str | None = None
    file_id: None = None
    file_url: None = None


Part = Annotated[InputText | OutputText | Refusal | InputImage | InputFile, Field(discriminator="type")]
OutputPart = Annotated[InputText | InputImage | InputFile, Field(discriminator="type")]


class MessageItem(Open):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: str | None = None
    status: Status = None
    phase: str | None = None


class FunctionCallItem(Open):
    """A function that the model called."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: Status = None
    parsed_arguments: Any = None


class FunctionOutputItem(Open):
    """The result of a function call."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[OutputPart]
    id: str | None = None
    name: str | None = None
    status: Status = None


class ReasoningItem(Open):
    """Thoughts of a model, sent back. No chat completion takes them, so they are left out of the messages."""

    type: Literal["reasoning"]
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: Status = None


class ItemReference(Open):
    """An item that the caller has been sent before, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: str = Field(min_length=1)


class CompactionItem(Open):
    """A summary of what was said before, sent back; see `items/compaction.py`."""

    type: Literal["compaction"]
    encrypted_content: str = Field(min_length=1)
    id: str | None = None


class HostedItem(WithoutEffect):
    """What a tool of OpenAI's own did, sent back. It is ignored: no chat completion has such tools."""

    type: Literal[
        "code_interpreter_call",
        "computer_call",
        "file_search_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_call",
        "mcp_list_tools",
        "tool_search_call",
        "web_search_call",
    ]


HOSTED = frozenset(get_args(HostedItem.model_fields["type"].annotation))
_HOSTED = "hosted"


def _kind(item: Any) -> str:
    """Return an item's type; without one it is a message, or if all it has is an id a reference."""
    given = item.get("type") if isinstance(item, dict) else getattr(item, "type", "")
    if isinstance(item, dict) and not given:
        return REFERENCE if "id" in item and "role" not in item else MESSAGE
    return _HOSTED if given in HOSTED else str(given)


Item = Annotated[
    Annotated[MessageItem, Tag(MESSAGE)]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag(REFERENCE)]
    | Annotated[CompactionItem, Tag("compaction")]
    | Annotated[HostedItem, Tag(_HOSTED)],
    Discriminator(_kind),
]


def dumped(items: Sequence[Item]) -> list[JsonObject]:
    """Return items as they were sent, each with its type."""
    return [{"type": item.type, **item.model_dump(exclude_none=True)} for item in items]
