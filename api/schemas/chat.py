"""A completion request as clients send it: messages, tools and parameters, with OpenAI's names and ranges."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from api.http.bodies import Body
from shared.errors import InvalidRequest
from shared.json_types import JsonObject

MAX_TOOLS = 128
MAX_STOPS = 4
INT64_MAX = 2**63 - 1


class ImageUrl(Body):
    """An image: its URL, or the image itself as a data URL."""

    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] = "auto"


class TextPart(Body):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImagePart(Body):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class CalledFunction(Body):
    """A function that a model called, with its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(Body):
    """A tool call that a model made."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """One message, as OpenAI's chat completions write it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> "ChatMessage":
        self.tool_calls = self.tool_calls or None
        if not (self.content or self.tool_calls or self.refusal or self.role == "tool"):
            raise ValueError("a message needs content")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool's message needs a tool_call_id")
        return self


class FunctionTool(Body):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionTool


class NamedFunction(Body):
    """A function, by its name."""

    name: str = Field(min_length=1)


class ToolChoice(Body):
    """The one function to call."""

    type: Literal["function"]
    function: NamedFunction


class ResponseFormat(Body):
    """The form of the answer: any text, any JSON object, or JSON by a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonObject | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with the type json_schema")
        return self


class Parameters(Body):
    """The parameters of chat completions that go along to the provider, with OpenAI's names and ranges."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=INT64_MAX)
    max_completion_tokens: int | None = Field(None, ge=1, le=INT64_MAX)
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: int | None = Field(None, ge=-INT64_MAX, le=INT64_MAX)
    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None

    @model_validator(mode="after")
    def _can_be_called(self) -> "Parameters":
        named = self.tool_choice.function.name if isinstance(self.tool_choice, ToolChoice) else None
        refuse_choice(named, {tool.function.name for tool in self.tools or ()}, is_required=self.tool_choice == "required")
        return self.without_empty_tools()

    def without_empty_tools(self) -> Self:
        """Leave out an empty list of tools, and what is about tools where there are none: providers refuse both."""
        if not self.tools:
            self.tools = self.tool_choice = self.parallel_tool_calls = None
        return self


def refuse_choice(named: str | None, tools: set[str], *, is_required: bool) -> None:
    """Check that the tool that is to be called, if any, is among the tools.

    Raises:
        InvalidRequest: it is not, or a call is required where there are no tools.
    """
    if is_required and not tools:
        raise InvalidRequest("A call is required, but there are no tools.", param="tool_choice")
    if named is not None and named not in tools:
        raise InvalidRequest(f"There is no tool '{named}' to choose.", param="tool_choice")
