"""Chat completions, whole and in chunks: a pure function of a job's row and log, so that every reader gets the same bytes.

What a stream has shown cannot be taken back: an answer that begins anew ends it with an error, which the SDK raises.
"""

from collections.abc import Callable, Iterator, Sequence

from api.dialects.openai.chat import functions
from api.dialects.openai.errors import job_error
from api.dialects.openai.sse import FROM_THE_START, unnamed
from shared import events, ids
from shared.events import Event
from shared.json_types import JsonObject
from shared.messages.answer import assemble
from shared.models import Job
from shared.timestamps import unix_seconds

NUMBERS_PER_EVENT = 4
"""Room for the numbers of one event of the log, where numbers jump with it: by it a reader is recognised who comes back with a
number from before the one jump that a log may make, and is not sent the new answer as if it were the rest of the old one."""
BROKEN_OFF = {"message": "The answer broke off, and began anew.", "type": "server_error", "param": None, "code": "restarted"}


def needs_log(job: Job) -> bool:
    """Return whether a whole chat completion is more than its row: several choices, or logprobs."""
    return choices(job) > 1 or bool((job.wire_request or {}).get("logprobs"))


def choices(job: Job) -> int:
    """Return how many choices a chat completion has."""
    return int((job.wire_request or {}).get("choices", 1))


def completion(job: Job, log: Sequence[Event] = ()) -> JsonObject:
    """Write a chat completion whole; `log` is the job's where `needs_log`, without it there is one choice, and no logprobs."""
    whole = {**common(job), "object": "chat.completion", "choices": _choices(job, log), "usage": _usage(job)}
    return {**whole, "metadata": job.labels} if job.stored else whole


def _choices(job: Job, log: Sequence[Event]) -> list[JsonObject]:
    uses_functions = _uses_functions(job)
    if not log:
        return [_choice(0, job.message or {"role": "assistant"}, job.finish_reason, None, uses_functions=uses_functions)]
    logprobs: dict[int, JsonObject] = {}
    reasons: dict[int, str | None] = {0: job.finish_reason}
    for event in log:
        if event.type == events.RESTARTED:
            logprobs, reasons = {}, {0: job.finish_reason}
        elif event.type == events.DELTA:
            fields = event.fields()
            number = fields.get("choice", 0)
            reasons[number] = fields.get("choice_reason") or reasons.get(number)
            _join(logprobs.setdefault(number, {}), fields.get("logprobs") or {})
    numbers = range(choices(job))
    return [
        _choice(number, assemble(log, number), reasons.get(number), logprobs.get(number), uses_functions=uses_functions)
        for number in numbers
    ]


def _uses_functions(job: Job) -> bool:
    return bool((job.wire_request or {}).get("functions"))


def _choice(
    number: int, message: JsonObject, reason: str | None, logprobs: JsonObject | None, *, uses_functions: bool
) -> JsonObject:
    if uses_functions:
        message, reason = functions.with_call(message), functions.reason(reason)
    whole = {"content": None, "refusal": None, "annotations": [], **message}
    return {"index": number, "message": whole, "logprobs": logprobs or None, "finish_reason": reason or "stop"}


def _join(logprobs: JsonObject, more: JsonObject) -> None:
    """Add the logprobs of a delta to those before it: lists by kind of token, `content` and `refusal`."""
    for name, values in more.items():
        if isinstance(values, list):
            logprobs.setdefault(name, []).extend(values)
        else:
            logprobs.setdefault(name, values)


class ChunkTranslation:
    """A log in chunks, numbered from 0 without a gap."""

    def __init__(self, job: Job, starting_after: int = FROM_THE_START) -> None:
        """Begin at the log's start, for a reader who has seen the chunks up to a number."""
        self.is_over = False
        self.is_whole = False
        self._common = {**common(job), "object": "chat.completion.chunk"}
        self._includes_usage = bool((job.wire_request or {}).get("include_usage"))
        self._choices = choices(job)
        self._uses_functions = _uses_functions(job)
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
            for number in range(self._choices):
                yield self._chunk({"role": "assistant", "content": ""}, choice=number)
        if event.type == events.RESTARTED:
            yield from self._restart(event)
        elif event.type == events.DELTA:
            self._has_shown = True
            yield self._delta(event.fields())
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

    def _delta(self, fields: JsonObject) -> JsonObject:
        delta = {name: value for name, value in fields["delta"].items() if name != "role"}
        return self._chunk(delta, fields.get("choice_reason"), fields.get("choice", 0), fields.get("logprobs"))

    def _end(self, event: Event, read_ended: Callable[[], Job]) -> Iterator[JsonObject]:
        if self._choices == 1:  # of several, each has had its own end
            yield self._chunk({}, event.fields()["finish_reason"] or "stop")
        if self._includes_usage:
            yield self._next({"choices": [], "usage": _usage(read_ended())})
        self.is_over = self.is_whole = True

    def _chunk(
        self, delta: JsonObject, finish_reason: str | None = None, choice: int = 0, logprobs: JsonObject | None = None
    ) -> JsonObject:
        if self._uses_functions:
            delta, finish_reason = functions.with_call(delta), functions.reason(finish_reason)
        written = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._next({"choices": [written], **({"usage": None} if self._includes_usage else {})})

    def _next(self, fields: JsonObject) -> JsonObject:
        numbered = {**self._common, **fields, "sequence_number": self._number}
        self._number += 1
        return numbered

    def _broken(self, error: JsonObject) -> JsonObject:
        self.is_over = True
        return {"error": error, "sequence_number": self._number}


def common(job: Job) -> JsonObject:
    """Return what a completion and each of its chunks have in common; `object` is for them to fill in."""
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
