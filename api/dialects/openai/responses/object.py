"""The Response object, made from a job's row and its log. Pure.

Its fields are those that the SDK's types name, and those that the Open Responses specification wants to be there.
"""

from collections.abc import Iterable
from http import HTTPStatus

from api.dialects.openai.responses.output import COMPLETED, INCOMPLETE, Output
from shared import events, ids
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job, Status
from shared.models.error_codes import JobErrorCode
from shared.timestamps import unix_seconds

DEFAULTS: JsonObject = {
    "background": False,
    "conversation": None,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt": None,
    "prompt_cache_key": None,
    "prompt_cache_options": None,
    "prompt_cache_retention": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""The values of parameters that a request leaves out."""
TOOL_DEFAULTS: JsonObject = {"description": None, "parameters": None, "strict": None}

REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})
"""Statuses by which a provider says that the prompt is at fault."""


def base(job: Job) -> str:
    """Return what the ids of a response's items are made from: its answer's id where it will have a row, else its job's."""
    return ids.random_part(job.answer_id or job.id)


def begun(job: Job, status: str) -> JsonObject:
    """Return a response without output, from what of its job never changes."""
    sent = job.wire_request or {}
    parameters = {name: default if sent.get(name) is None else sent[name] for name, default in DEFAULTS.items()}
    return {
        "id": ids.with_prefix(ids.RESPONSE, job.id),
        "object": "response",
        "created_at": unix_seconds(job.created_ms),
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": job.model,
        "output": [],
        "usage": None,
        "metadata": job.labels,
        **parameters,
        "conversation": _conversation(parameters["conversation"]),
        "reasoning": {**DEFAULTS["reasoning"], **parameters["reasoning"]},
        "text": {**DEFAULTS["text"], **parameters["text"]},
        "tools": [{**TOOL_DEFAULTS, **tool} for tool in parameters["tools"]],
    }


def ended(job: Job, output: Output) -> JsonObject:
    """Return a response that is over."""
    reason = "content_filter" if job.finish_reason == "content_filter" else "max_output_tokens"
    return {
        **begun(job, job.status),
        "output": output.items(),
        "completed_at": unix_seconds(job.finished_ms) if job.status is Status.COMPLETED and job.finished_ms else None,
        "error": _error(job.error) if job.status is Status.FAILED else None,
        "incomplete_details": {"reason": reason} if job.status is Status.INCOMPLETE else None,
        "usage": usage(job.usage),
    }


def shown(job: Job, log: Iterable[Event]) -> JsonObject:
    """Return a response as it now is: whole, or with its output so far.

    Args:
        job: its row.
        log: its events, from the first.
    """
    output = Output(base(job))
    for event in log:
        if event.type == events.DELTA:
            _run(output.add(event.fields()["delta"]))
        elif event.type == events.RESTARTED:
            _run(output.drop())
    if not job.status.is_terminal:
        return {**begun(job, job.status), "output": output.items()}
    _run(output.end(COMPLETED if job.status is Status.COMPLETED else INCOMPLETE, is_whole=True))
    return ended(job, output)


def _run(steps: Iterable[JsonObject]) -> None:
    """Run all steps; their events are not needed."""
    for _ in steps:
        pass


def _conversation(name: str | None) -> JsonObject | None:
    return None if name is None else {"id": name}


def _error(error: JsonObject | None) -> JsonObject:
    """Return a failure as OpenAI's types have it: they allow few codes, so the provider's own goes into the message."""
    error = error or {}
    status, code = error.get("provider_status"), error.get("code")
    public_code = "server_error"
    if status == HTTPStatus.TOO_MANY_REQUESTS or code == "rate_limit_exceeded":
        public_code = "rate_limit_exceeded"
    elif status in REFUSED or code == JobErrorCode.CONTENT_FLAGGED:
        public_code = "invalid_prompt"
    return {"code": public_code, "message": f"{error.get('message', '')} ({code})"}


def usage(counted: JsonObject | None) -> JsonObject | None:
    """Return a job's usage in the words of responses."""
    if counted is None:
        return None
    cached = (counted.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (counted.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": counted["total_tokens"],
        **({"estimated": True} if counted.get("estimated") else {}),
    }
