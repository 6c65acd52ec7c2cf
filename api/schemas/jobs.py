"""Jobs: what is submitted, and how jobs are shown."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.http.bodies import Query
from api.schemas.chat import ChatMessage, Parameters
from shared.errors import InvalidRequest
from shared.json_types import JsonObject
from shared.models import OnInterrupt, Status
from shared.models.base import MODEL_CHARS
from shared.models.conversation import NAME_CHARS

MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY_CHARS = 64
MAX_METADATA_VALUE_CHARS = 512
MAX_MESSAGES = 2_000

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=MODEL_CHARS)]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=MAX_METADATA_KEY_CHARS)],
        Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE_CHARS)],
    ],
    Field(max_length=MAX_METADATA_PAIRS),
]


class JobRequest(Parameters):
    """A chat job: either `message`, a turn of a conversation whose history goes along, or `messages`, the whole context."""

    message: str | None = Field(None, min_length=1, description="A turn of the conversation.")
    messages: list[ChatMessage] | None = Field(None, min_length=1, max_length=MAX_MESSAGES, description="The whole context.")
    conversation_id: str | None = Field(None, min_length=1, max_length=NAME_CHARS, description="Its id, or a name of it.")
    model: ModelName | None = None
    system: str | None = Field(None, description="Beats the conversation's own prompt.")
    metadata: Metadata = Field(default_factory=dict)
    on_interrupt: OnInterrupt = Field(
        OnInterrupt.RESTART, strict=False, description="What happens when an attempt breaks off after text was shown."
    )

    @model_validator(mode="after")
    def _one_kind_of_message(self) -> "JobRequest":
        if (self.message is None) == (self.messages is None):
            raise InvalidRequest("Send either message or messages.", param="message")
        if self.messages is not None and self.conversation_id is not None:
            raise InvalidRequest("messages is the whole context; it cannot go with conversation_id.", param="conversation_id")
        return self

    def parameters(self) -> JsonObject:
        """Return the parameters that are passed on to the provider."""
        return self.model_dump(include=set(Parameters.model_fields), exclude_none=True)


class Submitted(BaseModel):
    """A job that was accepted. `stream_url` has a ticket that reads this job and nothing else."""

    id: str
    request_id: str
    status: Status
    conversation_id: str | None
    status_url: str
    stream_url: str


class Timings(BaseModel):
    """How long each phase of a job took, in milliseconds."""

    queued_ms: int | None
    first_token_ms: int | None
    total_ms: int | None


class Usage(BaseModel):
    """Token counts; `estimated` where the provider sent none."""

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
    message: JsonObject | None
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


class JobPath(BaseModel):
    """The job that a path names."""

    job_id: str


class ShowQuery(Query):
    """What `Prefer: wait=N` waits for."""

    wait_for: Literal["end", "change"] = Field("end", description="The job's end, or its next status.")


class EventsQuery(Query):
    """From where to read: exclusive, so that the last `id:` seen is what to send. A `Last-Event-ID` header beats all here."""

    after: str = Field("", description="A sequence number; empty is 0.")
    last_event_id: str = Field("", alias="lastEventId", description="The same, as event-source-polyfill says it; beats `after`.")
    ticket: str | None = Field(None, description="A stream ticket, instead of the Authorization header.")


class JobsQuery(Query):
    """The page of jobs to list."""

    after: str | None = Field(None, description="The last id of the page before.")
    limit: int = Field(20, ge=1, le=100)
    status: Status | None = None
