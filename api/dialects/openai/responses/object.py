"""The Response object: what a job's row and its log say, in OpenAI's words. Pure.

Its fields are those that the SDK's types name, and those that the Open Responses specification wants to be there.
"""

from collections.abc import Iterable

from api.dialects.openai.responses.output import COMPLETED, INCOMPLETE, Output
from shared import events, ids
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job, Status
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
"""What a request that does not say otherwise has asked for."""
TOOL_DEFAULTS: JsonObject = {"description": None, "parameters": None, "strict": None}

TOO_MANY_REQUESTS = 429
REFUSED = frozenset({400, 413, 422})
"""Statuses by which a provider says that the prompt is at fault."""
FLAGGED = "content_flagged"


def base(job: Job) -> str:
    """Tell of what the ids of a response's items are made: of its answer's row where there is one to be."""
    return ids.random_part(job.answer_id or job.id)


def begun(job: Job, status: str) -> JsonObject:
    """Tell a response that has said nothing yet, by what of its job never changes."""
    asked = job.wire_request or {}
    told = {name: default if asked.get(name) is None else asked[name] for name, default in DEFAULTS.items()}
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
        **told,
        "conversation": _conversation(told["conversation"]),
        "reasoning": {**DEFAULTS["reasoning"], **told["reasoning"]},
        "text": {**DEFAULTS["text"], **told["text"]},
        "tools": [{**TOOL_DEFAULTS, **tool} for tool in told["tools"]],
    }


def ended(job: Job, output: Output) -> JsonObject:
    """Tell a response that is over."""
    reason = "content_filter" if job.finish_reason == "content_filter" else "max_output_tokens"
    return {
        **begun(job, job.status),
        "output": output.items(),
        "completed_at": unix_seconds(job.finished_ms) if job.status is Status.COMPLETED and job.finished_ms else None,
        "error": _error(job.error) if job.status is Status.FAILED else None,
        "incomplete_details": {"reason": reason} if job.status is Status.INCOMPLETE else None,
        "usage": _usage(job.usage),
    }


def shown(job: Job, log: Iterable[Event]) -> JsonObject:
    """Tell a response as it now is: whole, or what it has said so far.

    Args:
        job: its row.
        log: its events, from the first.
    """
    output = Output(base(job))
    for event in log:
        if event.type == events.DELTA:
            _done(output.add(event.fields()["delta"]))
        elif event.type == events.RESTARTED:
            _done(output.drop())
    if not job.status.is_terminal:
        return {**begun(job, job.status), "output": output.items()}
    _done(output.end(COMPLETED if job.status is Status.COMPLETED else INCOMPLETE, is_whole=True))
    return ended(job, output)


def _done(told: Iterable[JsonObject]) -> None:
    """Take the steps, whose events nobody wants to hear."""
    for _ in told:
        pass


def _conversation(name: str | None) -> JsonObject | None:
    return None if name is None else {"id": name}


def _error(error: JsonObject | None) -> JsonObject:
    """Word a failure: the types allow few codes, so the provider's own goes into the sentence."""
    told = error or {}
    status, code = told.get("provider_status"), told.get("code")
    word = "server_error"
    if status == TOO_MANY_REQUESTS or code == "rate_limit_exceeded":
        word = "rate_limit_exceeded"
    elif status in REFUSED or code == FLAGGED:
        word = "invalid_prompt"
    return {"code": word, "message": f"{told.get('message', '')} ({code})"}


def _usage(usage: JsonObject | None) -> JsonObject | None:
    if usage is None:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": usage["total_tokens"],
        **({"estimated": True} if usage.get("estimated") else {}),
    }
