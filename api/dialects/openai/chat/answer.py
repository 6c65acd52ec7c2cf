"""Chat completions, whole and in chunks: a pure function of a job's row and log, so that every reader gets the same bytes.

What a stream has shown cannot be taken back: an answer that begins anew ends it with an error, which the SDK raises.
"""

from collections.abc import Callable, Iterator

from api.dialects.openai.errors import job_error
from api.dialects.openai.sse import FROM_THE_START, unnamed
from shared import events, ids
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job
from shared.timestamps import unix_seconds

NUMBERS_PER_EVENT = 4
"""Room for the numbers of one event of the log, where numbers jump with it: by it a reader is recognised who comes back with a
number from before the one jump that a log may make, and is not sent the new answer as if it were the rest of the old one."""
BROKEN_OFF = {"message": "The answer broke off, and began anew.", "type": "server_error", "param": None, "code": "restarted"}


def completion(job: Job) -> JsonObject:
    """Write a chat completion whole."""
    message = {"content": None, "refusal": None, "annotations": [], **(job.message or {"role": "assistant"})}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": job.finish_reason or "stop"}
    whole = {**_common(job), "object": "chat.completion", "choices": [choice], "usage": _usage(job)}
    return {**whole, "metadata": job.labels} if job.stored else whole


class ChunkTranslation:
    """A log in chunks, numbered from 0 without a gap."""

    def __init__(self, job: Job, starting_after: int = FROM_THE_START) -> None:
        """Begin at the log's start, for a reader who has seen the chunks up to a number."""
        self.is_over = False
        self.is_whole = False
        self._common = {**_common(job), "object": "chat.completion.chunk"}
        self._includes_usage = bool((job.wire_request or {}).get("include_usage"))
        self._number = 0
        self._seen = starting_after
        self._has_shown = False

    def opening(self) -> Iterator[JsonObject]:
        """Yield nothing: what fails before its first chunk can still be answered with a status."""
        yield from ()

    def write(self, fields: JsonObject) -> bytes:
        """Write one chunk; they have no names."""
        return unnamed(fields)

    def translate(self, event: Event, read_ended: Callable[[], Job]) -> Iterator[JsonObject]:
        """Yield the chunks that one event of the log is; `read_ended` reads the row at the terminal one."""
        if event.type in (events.FAILED, events.CANCELLED):
            yield self._broken(_error(read_ended()))
            return
        if self._number == 0:
            yield self._chunk({"role": "assistant", "content": ""})
        if event.type == events.RESTARTED:
            yield from self._restart(event)
        elif event.type == events.DELTA:
            self._has_shown = True
            yield self._chunk({name: value for name, value in event.fields()["delta"].items() if name != "role"})
        elif event.is_terminal:
            yield from self._end(event, read_ended)

    def _restart(self, event: Event) -> Iterator[JsonObject]:
        """Begin anew, unless something was shown: now, or to a reader who comes back with a number of an answer that is lost."""
        has_seen = self._has_shown
        if event.is_legal_jump:
            self._number = max(self._number, NUMBERS_PER_EVENT * event.seq)
            has_seen = has_seen or FROM_THE_START < self._seen < self._number
        if has_seen:
            yield self._broken(BROKEN_OFF)

    def _end(self, event: Event, read_ended: Callable[[], Job]) -> Iterator[JsonObject]:
        yield self._chunk({}, event.fields()["finish_reason"] or "stop")
        if self._includes_usage:
            yield self._next({"choices": [], "usage": _usage(read_ended())})
        self.is_over = self.is_whole = True

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._next({"choices": [choice], **({"usage": None} if self._includes_usage else {})})

    def _next(self, fields: JsonObject) -> JsonObject:
        numbered = {**self._common, **fields, "sequence_number": self._number}
        self._number += 1
        return numbered

    def _broken(self, error: JsonObject) -> JsonObject:
        self.is_over = True
        return {"error": error, "sequence_number": self._number}


def _common(job: Job) -> JsonObject:
    return {
        "id": ids.with_prefix(ids.CHAT_COMPLETION, job.id),
        "object": "",
        "created": unix_seconds(job.created_ms),
        "model": job.model,
        "system_fingerprint": None,
        "service_tier": None,
    }


def _error(job: Job) -> JsonObject:
    error = job_error(job)
    return {"message": error["message"], "type": "provider_error", "param": None, "code": error["code"]}


def _usage(job: Job) -> JsonObject | None:
    if job.usage is None:
        return None
    counts = {name: value for name, value in job.usage.items() if name != "estimated"}
    return {**counts, "estimated": True} if job.usage.get("estimated") else counts
