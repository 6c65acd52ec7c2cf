"""The requests and answers of our own API: what validates them also documents them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.bodies import Body, Query
from shared.errors import InvalidRequest
from shared.models import OnInterrupt, Status
from shared.models.job import MODEL_CHARS
from shared.models.user import USERNAME_CHARS

MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY_CHARS = 64
MAX_METADATA_VALUE_CHARS = 512
MAX_MESSAGES = 2_000
MAX_TOOLS = 128
MAX_STOPS = 4
INT64_MAX = 2**63 - 1

Name = Annotated[str, StringConstraints(min_length=1, max_length=USERNAME_CHARS, pattern=r"^[^\s]+$")]
Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=MODEL_CHARS)]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=MAX_METADATA_KEY_CHARS)],
        Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE_CHARS)],
    ],
    Field(max_length=MAX_METADATA_PAIRS),
]


class Credentials(Body):
    """Who you are."""

    username: Name
    password: Password


class Login(Body):
    """Who you say you are."""

    username: str = Field(max_length=1024)
    password: str = Field(max_length=1024)


class RefreshRequest(Body):
    """A refresh token."""

    refresh_token: str = Field(max_length=8192)


class Registered(BaseModel):
    """A new account."""

    id: str
    sub: str
    username: str


class TokenPair(BaseModel):
    """What a login gives; `expires_in` in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the type's name, no secret
    expires_in: int


class ImageUrl(Body):
    """Where an image is: a URL, or the image itself as a data URL."""

    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high"] = "auto"


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
    """Which function a model called, with its arguments as JSON text."""

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
    def _says_something(self) -> "ChatMessage":
        if not (self.content or self.tool_calls or self.refusal or self.role == "tool"):
            raise ValueError("a message needs content")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool's message needs a tool_call_id")
        return self


class FunctionTool(Body):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionTool


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
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None


class JobRequest(Parameters):
    """A chat job: either `message`, a turn of a conversation whose history goes along, or `messages`, the whole context."""

    message: str | None = Field(None, min_length=1, description="A turn of the conversation.")
    messages: list[ChatMessage] | None = Field(None, min_length=1, max_length=MAX_MESSAGES, description="The whole context.")
    conversation_id: str | None = Field(None, min_length=1, max_length=64)
    model: ModelName | None = None
    system: str | None = Field(None, description="Beats the conversation's own prompt.")
    metadata: Metadata = Field(default_factory=dict)
    on_interrupt: OnInterrupt = Field(
        OnInterrupt.RESTART, strict=False, description="What happens when an attempt breaks off after text was shown."
    )

    @model_validator(mode="after")
    def _one_question(self) -> "JobRequest":
        if (self.message is None) == (self.messages is None):
            raise InvalidRequest("Send either message or messages.", param="message")
        if self.messages is not None and self.conversation_id is not None:
            raise InvalidRequest("messages is the whole context; it cannot go with conversation_id.", param="conversation_id")
        return self

    def parameters(self) -> dict[str, Any]:
        """Tell what goes along to the provider."""
        return self.model_dump(include=set(Parameters.model_fields), exclude_none=True)


class Submitted(BaseModel):
    """A job that was accepted. `stream_url` carries a ticket that reads this job and nothing else."""

    id: str
    request_id: str
    status: Status
    conversation_id: str | None
    status_url: str
    stream_url: str


class Timings(BaseModel):
    """Where the time went, in milliseconds."""

    queued_ms: int | None
    first_token_ms: int | None
    total_ms: int | None


class Usage(BaseModel):
    """Tokens; `estimated` where no provider told."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool


class JobError(BaseModel):
    """Why a job failed, in the provider's own words where there are any."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    provider_status: int | None = None


class JobView(BaseModel):
    """A job as it is now; `text` is partial while it runs."""

    id: str
    request_id: str
    status: Status
    conversation_id: str | None
    model: str
    attempt: int
    created_at: datetime
    started_at: datetime | None
    first_token_at: datetime | None
    finished_at: datetime | None
    timings: Timings
    text: str
    message: dict[str, Any] | None
    finish_reason: str | None
    usage: Usage | None
    error: JobError | None
    metadata: dict[str, str]


class JobList(BaseModel):
    """A page of jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[JobView]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ErrorBody(BaseModel):
    """What went wrong; `param` names the field."""

    message: str
    type: str
    code: str
    param: str | None


class ErrorAnswer(BaseModel):
    """The one error envelope; OpenAI's."""

    error: ErrorBody


class Health(BaseModel):
    """Alive."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Which part is ready: `ok`, or what is the matter."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]


class JobPath(BaseModel):
    """Which job."""

    job_id: str


class EventsQuery(Query):
    """From where to read: exclusive, so that the last `id:` seen is what to send. A `Last-Event-ID` header beats `after`."""

    after: str = Field("", description="A sequence number; empty is 0.")
    ticket: str | None = Field(None, description="A stream ticket, instead of the Authorization header.")


class JobsQuery(Query):
    """Which jobs to list."""

    after: str | None = Field(None, description="The last id of the page before.")
    limit: int = Field(20, ge=1, le=100)
    status: Status | None = None
