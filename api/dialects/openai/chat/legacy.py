"""`/v1/completions`, OpenAI's API before chat: a prompt is a user's one message, the answer's text is the completion."""

from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify
from pydantic import Field

from api.dialects.openai import foreground, ids, unknown
from api.dialects.openai.chat import answer
from api.dialects.openai.chat.answer import ChunkTranslation
from api.dialects.openai.chat.request import MAX_CHOICES, StreamOptions
from api.dialects.openai.chat.routes import answered, begun
from api.dialects.openai.request import read_body
from api.dialects.openai.unknown import Open
from api.jobs.submission import ParamNames, Submission
from api.schemas.chat import INT64_MAX, MAX_STOPS
from api.schemas.jobs import ModelName
from shared import ids as shared_ids
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Job, ObjectType, OnInterrupt

OBJECT = "text_completion"

blueprint = Blueprint("legacy_completions", __name__)


class CompletionRequest(Open):
    """A request for a completion, as far as a chat completion can be one."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    model: ModelName | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)

    # Passed on
    max_tokens: int | None = Field(None, ge=1, le=INT64_MAX)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-INT64_MAX, le=INT64_MAX)
    user: str | None = None

    # Of these only what changes nothing can be honoured
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    suffix: None = None


_OURS = {"prompt", "model", "stream", "stream_options", "best_of", "echo"}


class TextTranslation(ChunkTranslation):
    """A log in the chunks of a completion."""

    def __init__(self, job: Job) -> None:
        """Begin at the log's start."""
        super().__init__(job)
        self._common = _common(job)

    def _chunk(
        self, delta: JsonObject, finish_reason: str | None = None, choice: int = 0, logprobs: JsonObject | None = None
    ) -> JsonObject:
        written = {"index": choice, "text": delta.get("content") or "", "logprobs": logprobs, "finish_reason": finish_reason}
        return self._next({"choices": [written], **({"usage": None} if self._includes_usage else {})})


@blueprint.post("/completions")
def create() -> Response:
    """Create a completion, whole or streamed."""
    body = read_body(CompletionRequest)
    unknown.judge(body, may_forward=True)
    job = foreground.submit(_submission(body))
    if body.stream:
        return foreground.stream(job, TextTranslation(job), begun(job))
    job, whole = answered(job)
    texts = [_text(choice) for choice in whole["choices"]]
    return ids.with_job_id(jsonify({**_common(job), "choices": texts, "usage": whole["usage"]}), job)


def _submission(body: CompletionRequest) -> Submission:
    prompt = body.prompt if isinstance(body.prompt, str) else body.prompt[0]
    options = body.stream_options or StreamOptions()
    several = {"choices": body.n} if body.n and body.n > 1 else {}
    return Submission(
        messages=[{"role": "user", "content": prompt}],
        model=body.model,
        on_interrupt=OnInterrupt.FAIL if body.stream else OnInterrupt.RESTART,
        parameters=body.model_dump(exclude_none=True, exclude=_OURS),
        wire=ObjectType.CHAT_COMPLETION,
        wire_request={"stream": bool(body.stream), "include_usage": bool(options.include_usage), **several},
        stored=False,
        param_names=ParamNames(turn="prompt"),
    )


def _common(job: Job) -> JsonObject:
    chat = answer.common(job)
    return {**chat, "id": f"cmpl-{shared_ids.random_part(job.id)}", "object": OBJECT}


def _text(choice: JsonObject) -> JsonObject:
    reason = choice["finish_reason"]
    return {"index": choice["index"], "text": text_of(choice["message"]), "logprobs": None, "finish_reason": reason}
