"""Requests for chat completions, and the submissions that they are. Pure.

Every parameter of the SDK is honoured, passed on to the provider, or refused by name; docs/openai.md has the table.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from api.http.bodies import Body
from api.jobs.submission import Submission
from api.schemas.chat import CalledFunction, ChatMessage, ImagePart, Parameters, TextPart, ToolCall
from api.schemas.jobs import MAX_MESSAGES, Metadata, ModelName
from shared.json_types import JsonObject
from shared.models import ObjectType, OnInterrupt

SENT_BACK = {"annotations", "audio", "function_call", "parsed"}
"""What the SDK's own answers have, and so what is sent back; no provider wants it."""


class RefusalPart(Body):
    """A refusal of the model, sent back."""

    type: Literal["refusal"]
    refusal: str


class MadeFunction(CalledFunction):
    """A function that was called, as the SDK's helpers send it back."""

    parsed_arguments: Any = None


class MadeCall(ToolCall):
    """A call, as the SDK's answers have it."""

    function: MadeFunction
    index: int | None = None


Part = Annotated[TextPart | ImagePart | RefusalPart, Field(discriminator="type")]


class Message(ChatMessage):
    """One message; an empty text is one too."""

    content: str | list[Part] | None = None  # type: ignore[assignment]  # there are more kinds of parts here
    tool_calls: list[MadeCall] | None = None  # type: ignore[assignment]  # a list is invariant, and nobody changes it
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    parsed: Any = None

    @model_validator(mode="after")
    def _has_content(self) -> "Message":  # its name replaces the stricter check of ChatMessage
        if self.content is None and not (self.tool_calls or self.refusal):
            raise ValueError("a message needs content")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool's message needs a tool_call_id")
        return self

    def dumped(self) -> JsonObject:
        """Write the message as a provider takes it."""
        message = self.model_dump(exclude_none=True, exclude=SENT_BACK)
        for call in message.get("tool_calls", ()):
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        return message


class StreamOptions(Body):
    """How to stream. Nothing is ever obfuscated."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(Parameters):
    """A request for a chat completion."""

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: ModelName | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    on_interrupt: OnInterrupt | None = Field(None, strict=False)

    # Passed on as they are
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: JsonObject | None = None
    prediction: JsonObject | None = None

    # Of these only what changes nothing can be honoured
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    functions: None = None
    function_call: None = None
    moderation: None = None
    web_search_options: None = None


_OURS = {"messages", "model", "stream", "stream_options", "store", "metadata", "on_interrupt"}
_WITHOUT_EFFECT = {"n", "logprobs", "top_logprobs", "modalities"}


def submission(body: ChatRequest) -> Submission:
    """Return the submission. What a stream has shown cannot be taken back, so a job that is streamed does not begin anew."""
    options = body.stream_options or StreamOptions()
    return Submission(
        messages=[message.dumped() for message in body.messages],
        model=body.model,
        metadata=body.metadata or {},
        on_interrupt=body.on_interrupt or (OnInterrupt.FAIL if body.stream else OnInterrupt.RESTART),
        parameters=body.model_dump(exclude_none=True, exclude=_OURS | _WITHOUT_EFFECT),
        wire=ObjectType.CHAT_COMPLETION,
        wire_request={
            "stream": bool(body.stream),
            "include_usage": bool(options.include_usage),
        },
        stored=bool(body.store),
    )
