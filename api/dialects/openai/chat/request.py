"""Requests for chat completions, and the submissions that they are. Pure.

Every parameter of the SDK is honoured, passed on to the provider, or refused by name; docs/openai.md has the table. What nobody
here knows goes to the provider as it is, unless the operator wants it otherwise.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from api.dialects.openai.chat import functions as legacy_functions
from api.dialects.openai.unknown import Open
from api.http.bodies import Body
from api.jobs.submission import Submission
from api.schemas.chat import (
    MAX_TOOLS,
    CalledFunction,
    ChatMessage,
    FunctionTool,
    ImagePart,
    ImageUrl,
    NamedFunction,
    Parameters,
    TextPart,
    ToolCall,
    refuse_choice,
)
from api.schemas.jobs import MAX_MESSAGES, Metadata, ModelName
from shared.errors import InvalidRequest
from shared.json_types import JsonObject
from shared.models import ObjectType, OnInterrupt

MAX_CHOICES = 8
"""Each choice is a call of its own."""
MAX_TOP_LOGPROBS = 20
SENT_BACK = {"annotations", "audio", "parsed"}
"""What the SDK's own answers have, and so what is sent back; no provider wants it."""


class Text(TextPart, Open):
    """A piece of text."""


class AnyImageUrl(ImageUrl, Open):
    """An image."""


class Image(ImagePart, Open):
    """An image."""

    image_url: AnyImageUrl


class RefusalPart(Open):
    """A refusal of the model, sent back."""

    type: Literal["refusal"]
    refusal: str


class OtherPart(Open):
    """A part that only the provider understands: a file, a sound."""

    type: str = Field(min_length=1)


class MadeFunction(CalledFunction, Open):
    """A function that was called, as the SDK's helpers send it back."""

    parsed_arguments: Any = None


class MadeCall(ToolCall, Open):
    """A call, as the SDK's answers have it."""

    function: MadeFunction
    index: int | None = None


class OtherCall(Open):
    """A call of a tool that is no function."""

    id: str
    type: str


class Function(FunctionTool, Open):
    """A function that the model may call."""


class FunctionItself(Open):
    """A function as a tool."""

    type: Literal["function"]
    function: Function


class OtherTool(Open):
    """A tool that only the provider understands."""

    type: str = Field(min_length=1)


class FunctionChoice(Open):
    """The one function to call."""

    type: Literal["function"]
    function: NamedFunction


def _kind(value: Any) -> str:
    """Return the type of a part, a tool or a choice, as far as we know it."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) and kind in {"text", "image_url", "refusal", "function"} else "other"


def _call_kind(value: Any) -> str:
    """Return the type of a call; without one it calls a function."""
    kind = value.get("type", "function") if isinstance(value, dict) else getattr(value, "type", None)
    return "function" if kind == "function" else "other"


Part = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[Image, Tag("image_url")]
    | Annotated[RefusalPart, Tag("refusal")]
    | Annotated[OtherPart, Tag("other")],
    Discriminator(_kind),
]
Call = Annotated[Annotated[MadeCall, Tag("function")] | Annotated[OtherCall, Tag("other")], Discriminator(_call_kind)]
Tool = Annotated[Annotated[FunctionItself, Tag("function")] | Annotated[OtherTool, Tag("other")], Discriminator(_kind)]
Choice = Annotated[Annotated[FunctionChoice, Tag("function")] | Annotated[OtherTool, Tag("other")], Discriminator(_kind)]


class Message(ChatMessage, Open):
    """One message; an empty text is one too, and an assistant's may be without."""

    content: str | list[Part] | None = None  # type: ignore[assignment]  # there are more kinds of parts here
    tool_calls: list[Call] | None = None  # type: ignore[assignment]  # a list is invariant, and nobody changes it
    annotations: list[Any] | None = None
    audio: None = None
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]  # type: ignore[assignment]  # one more
    function_call: legacy_functions.Called | None = None
    parsed: Any = None

    @model_validator(mode="after")
    def _has_content(self) -> "Message":  # its name replaces the stricter check of ChatMessage
        self.tool_calls = self.tool_calls or None
        if self.content is None and not (self.tool_calls or self.function_call or self.refusal):
            if self.role != "assistant":
                raise ValueError("a message needs content")
            self.content = ""
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool's message needs a tool_call_id")
        return self

    def dumped(self) -> JsonObject:
        """Write the message as a provider takes it."""
        message = self.model_dump(exclude_none=True, exclude=SENT_BACK)
        for call in message.get("tool_calls", ()):
            call.pop("index", None)
            call.get("function", {}).pop("parsed_arguments", None)
        return message


class StreamOptions(Body):
    """How to stream. Nothing is ever obfuscated."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(Parameters, Open):
    """A request for a chat completion."""

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: ModelName | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    on_interrupt: OnInterrupt | None = Field(None, strict=False)

    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS)  # type: ignore[assignment]  # there are more kinds here
    tool_choice: Literal["none", "auto", "required"] | Choice | None = None  # type: ignore[assignment]  # here as well

    functions: list[legacy_functions.Function] | None = Field(None, max_length=MAX_TOOLS)
    function_call: legacy_functions.FunctionChoice | None = None

    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)

    # Passed on as they are
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: JsonObject | None = None
    prediction: JsonObject | None = None

    # Of these only what changes nothing can be honoured
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    moderation: None = None

    @model_validator(mode="after")
    def _can_be_called(self) -> "ChatRequest":  # its name replaces the stricter check of Parameters
        named = self.tool_choice.function.name if isinstance(self.tool_choice, FunctionChoice) else None
        if self.functions is not None and self.tools:
            raise InvalidRequest("Send either tools or functions.", param="functions")
        if self.function_call is not None and not self.functions:
            raise InvalidRequest("There are no functions to call.", param="function_call")
        names = {tool.function.name for tool in self.tools or () if isinstance(tool, FunctionItself)}
        refuse_choice(named, names, is_required=self.tool_choice == "required" and not self.tools)
        return self.without_empty_tools()


_OURS = {"messages", "model", "stream", "stream_options", "store", "metadata", "on_interrupt"}
_WITHOUT_EFFECT = {"modalities", "functions", "function_call"}
_ABSENT: JsonObject = {"n": 1, "logprobs": False, "top_logprobs": 0}


def submission(body: ChatRequest) -> Submission:
    """Return the submission. What a stream has shown cannot be taken back, so a job that is streamed does not begin anew."""
    options = body.stream_options or StreamOptions()
    return Submission(
        messages=legacy_functions.messages_with_calls([message.dumped() for message in body.messages]),
        model=body.model,
        metadata=body.metadata or {},
        on_interrupt=body.on_interrupt or (OnInterrupt.FAIL if body.stream else OnInterrupt.RESTART),
        parameters=_parameters(body),
        wire=ObjectType.CHAT_COMPLETION,
        wire_request={
            "stream": bool(body.stream),
            "include_usage": bool(options.include_usage),
            **({"choices": body.n} if body.n and body.n > 1 else {}),
            **({"logprobs": True} if body.logprobs else {}),
            **({"functions": True} if body.functions else {}),
        },
        stored=bool(body.store),
    )


def _parameters(body: ChatRequest) -> JsonObject:
    """Return what goes to the provider; what says no more than a parameter's absence does not."""
    values = body.model_dump(exclude_none=True, exclude=_OURS | _WITHOUT_EFFECT)
    asked = {name: value for name, value in values.items() if _ABSENT.get(name) != value}
    return {**asked, **legacy_functions.tools(body.functions or (), body.function_call)}
