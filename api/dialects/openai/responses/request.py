"""Requests for responses, and the submissions that they are. Pure.

Every parameter of the SDK is honoured, passed on to the provider under its name in chat completions, or refused by name;
docs/openai.md has the table.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from api.dialects.openai.items import messages as item_messages
from api.dialects.openai.items.shapes import MESSAGE, Item, dumped
from api.dialects.openai.responses.shapes import (
    AnyTool,
    Named,
    ObjectFormat,
    Reasoning,
    SchemaFormat,
    StreamOptions,
    Text,
    TextFormat,
    Tool,
    ToolChoice,
)
from api.dialects.openai.unknown import Open
from api.jobs.submission import ParamNames, Place, Submission
from api.schemas.chat import INT64_MAX, MAX_TOOLS, refuse_choice
from api.schemas.jobs import Metadata, ModelName
from shared.errors import InvalidRequest
from shared.json_types import JsonObject
from shared.models import ObjectType, OnInterrupt
from shared.models.conversation import NAME_CHARS

MAX_ITEMS = 2_000
LOGPROBS = "message.output_text.logprobs"
CACHING = ("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options")
"""Parameters about the user and about caching, which the provider gets as they are."""


class ResponseInput(Open):
    """The input of a response with all its parameters; also what tokens are counted of."""

    model: ModelName | None = None
    input: str | Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS)] | None = None
    instructions: str | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    conversation: Annotated[str, Field(min_length=1, max_length=NAME_CHARS)] | Named | None = None
    previous_response_id: str | None = None
    metadata: Metadata | None = None
    max_output_tokens: int | None = Field(None, ge=1, le=INT64_MAX)
    max_tool_calls: int | None = Field(None, ge=1, le=INT64_MAX)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_logprobs: Literal[0] | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    tools: list[AnyTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[str] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: JsonObject | None = None
    prompt: None = None
    moderation: None = None
    on_interrupt: OnInterrupt | None = Field(None, strict=False)
    _found: list[JsonObject] | None = PrivateAttr(None)

    @field_validator("include")
    @classmethod
    def _no_logprobs(cls, include: list[str] | None) -> list[str] | None:
        if include and LOGPROBS in include:
            raise ValueError("log probabilities cannot be had here")
        return include

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.conversation is not None and self.previous_response_id is not None:
            raise InvalidRequest("Send either conversation or previous_response_id.", param="previous_response_id")
        named = self.tool_choice.name if isinstance(self.tool_choice, ToolChoice) else None
        refuse_choice(named, {tool.name for tool in self.functions()}, is_required=self.tool_choice == "required")
        return self

    def functions(self) -> list[Tool]:
        """Return the tools that are functions."""
        return [tool for tool in self.tools or () if isinstance(tool, Tool)]

    @property
    def conversation_name(self) -> str | None:
        """Return the conversation that the response is a turn of, by its id or a name."""
        return self.conversation.id if isinstance(self.conversation, Named) else self.conversation

    def items(self) -> list[JsonObject]:
        """Return the input in items; a text is the user's one message."""
        if isinstance(self.input, str):
            return [{"type": MESSAGE, "role": "user", "content": self.input}]
        return self._found if self._found is not None else dumped(self.input or [])

    def replace_items(self, found: list[JsonObject]) -> None:
        """Take these items for the input, with what references are about in their place."""
        self._found = found


class ResponseRequest(ResponseInput):
    """A request for a response."""

    @model_validator(mode="after")
    def _has_input(self) -> Self:
        if self.input is None:
            raise InvalidRequest("input is missing.", param="input")
        return self


def submission(body: ResponseRequest, before: list[JsonObject], place: Place) -> Submission:
    """Return the submission.

    Args:
        body: the request.
        before: the chat messages before it, if the response is to be kept in no conversation.
        place: the conversation, and the message there that it follows.

    Raises:
        InvalidRequest: there is nothing in it to be answered.
    """
    messages = item_messages.messages_of(body.items())
    if not messages:
        raise InvalidRequest("There is nothing in the input that could be answered.", param="input")
    is_kept = body.store is not False or body.conversation is not None
    return Submission(
        turn=messages if is_kept else (),
        place=place,
        messages=None if is_kept else [*before, *messages],
        model=body.model,
        system=body.instructions,
        stores_system=False,
        metadata=body.metadata or {},
        on_interrupt=body.on_interrupt or _on_interrupt(body),
        parameters=parameters(body),
        wire=ObjectType.RESPONSE,
        param_names=ParamNames(turn="input", system="instructions"),
        wire_request=_kept(body),
        stored=body.store is not False,
    )


def _on_interrupt(body: ResponseRequest) -> OnInterrupt:
    """What was shown in the foreground cannot be taken back; in the background the answer goes on in a new item."""
    return OnInterrupt.FAIL if body.stream and not body.background else OnInterrupt.RESTART


def _kept(body: ResponseRequest) -> JsonObject:
    """Keep the request in its own words, for the Response object and for the list of its input."""
    fields = body.model_dump(exclude_none=True, by_alias=True, exclude={"input", "model", "metadata", "conversation", "tools"})
    conversation: JsonObject = {"conversation": body.conversation_name} if body.conversation is not None else {}
    tools: JsonObject = {"tools": [tool.model_dump(exclude_none=True) for tool in body.functions()]} if body.tools else {}
    return {**fields, **tools, **conversation, "input": body.items()}


def parameters(body: ResponseInput) -> JsonObject:
    """Return the parameters for the provider, under their names in chat completions."""
    text, reasoning = body.text or Text(), body.reasoning or Reasoning()
    values: JsonObject = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "max_completion_tokens": body.max_output_tokens,
        "response_format": _format(text.format),
        "verbosity": text.verbosity,
        "reasoning_effort": reasoning.effort,
        "service_tier": body.service_tier,
        **{name: getattr(body, name) for name in CACHING},
    }
    if functions := body.functions():
        values["tools"] = [_tool(tool) for tool in functions]
        values["tool_choice"] = _choice(body.tool_choice)
        values["parallel_tool_calls"] = body.parallel_tool_calls
    return {name: value for name, value in values.items() if value is not None}


def _format(text_format: TextFormat | ObjectFormat | SchemaFormat | None) -> JsonObject | None:
    if isinstance(text_format, SchemaFormat):
        return {"type": text_format.type, "json_schema": text_format.model_dump(exclude={"type"}, exclude_none=True, by_alias=True)}
    return {"type": text_format.type} if isinstance(text_format, ObjectFormat) else None


def _tool(tool: Tool) -> JsonObject:
    return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}


def _choice(choice: str | ToolChoice | None) -> str | JsonObject | None:
    return {"type": "function", "function": {"name": choice.name}} if isinstance(choice, ToolChoice) else choice
