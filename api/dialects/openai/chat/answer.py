"""Chat completions, whole and in chunks: a pure function of a job's row and log, so that every reader gets the same bytes.

What was shown in a stream cannot be taken back: an answer that begins anew ends it with an error, which the SDK raises.
"""

from collections.abc import Callable, Iterable, Iterator

from api.dialects.openai.wire import CUT, DONE, GONE, HEARTBEAT, chunk
from shared import events
from shared.errors import NotFound, Unavailable
from shared.events import Event
from shared.json_types import JsonObject
from shared.models import Job

FROM_THE_START = -1
NUMBERS_PER_EVENT = 4
"""Room for the numbers of one event of the log, where numbers jump with it: who comes back with a number from before the one jump
that a log may make is known by it, and is not told the new answer as if it were the rest of the old one."""
BROKEN_OFF = {"message": "The answer broke off, and began anew.", "type": "server_error", "param": None, "code": "restarted"}


def public_id(job: Job) -> str:
    """Tell what a chat completion is called."""
    return "chatcmpl-" + job.id.partition("_")[2]


def completion(job: Job) -> JsonObject:
    """Tell a chat completion whole."""
    message = {"content": None, "refusal": None, **(job.message or {"role": "assistant"}), "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": job.finish_reason or "stop"}
    told = {**_common(job), "object": "chat.completion", "choices": [choice], "usage": _usage(job)}
    return {**told, "metadata": job.labels} if job.stored else told


def frames(job: Job, told: Iterable[Event | None], ended: Callable[[], Job], starting_after: int) -> Iterator[bytes]:
    """Write the chunks of a chat completion after a number, to the end; see `responses_events.frames`."""
    chunks = Chunks(job, starting_after)
    try:
        for said in told:
            if said is None:
                yield HEARTBEAT
                continue
            for fields in chunks.said(said, ended):
                if fields["sequence_number"] > starting_after:
                    yield chunk(fields)
            if chunks.is_over:
                if chunks.is_whole:
                    yield DONE
                return
    except NotFound:
        yield chunk({"error": GONE})
    except Unavailable:
        yield chunk({"error": CUT})
    else:
        yield chunk({"error": CUT})


class Chunks:
    """A log's way into chunks, numbered from 0 without a gap."""

    def __init__(self, job: Job, starting_after: int = FROM_THE_START) -> None:
        """Begin at the log's start, for a reader who has seen the chunks up to a number."""
        self.is_over = False
        self.is_whole = False
        self._common = {**_common(job), "object": "chat.completion.chunk"}
        self._includes_usage = bool((job.wire_request or {}).get("include_usage"))
        self._number = 0
        self._seen = starting_after
        self._has_shown = False

    def said(self, said: Event, ended: Callable[[], Job]) -> Iterator[JsonObject]:
        """Tell one event of the log; `ended` reads the row at the terminal one."""
        if said.type in (events.FAILED, events.CANCELLED):
            yield self._broken(_error(ended()))
            return
        if self._number == 0:
            yield self._chunk({"role": "assistant", "content": ""})
        if said.type == events.RESTARTED:
            yield from self._restart(said)
        elif said.type == events.DELTA:
            self._has_shown = True
            yield self._chunk({name: value for name, value in said.fields()["delta"].items() if name != "role"})
        elif said.is_terminal:
            yield from self._end(said, ended)

    def _restart(self, said: Event) -> Iterator[JsonObject]:
        """Begin anew, unless something was shown: here, or to a reader who comes back with a number of an answer that is lost."""
        has_seen = self._has_shown
        if said.is_legal_jump:
            self._number = max(self._number, NUMBERS_PER_EVENT * said.seq)
            has_seen = has_seen or FROM_THE_START < self._seen < self._number
        if has_seen:
            yield self._broken(BROKEN_OFF)

    def _end(self, said: Event, ended: Callable[[], Job]) -> Iterator[JsonObject]:
        yield self._chunk({}, said.fields()["finish_reason"] or "stop")
        if self._includes_usage:
            yield self._next({"choices": [], "usage": _usage(ended())})
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
        "id": public_id(job),
        "object": "",
        "created": job.created_ms // 1000,
        "model": job.model,
        "system_fingerprint": None,
        "service_tier": None,
    }


def _error(job: Job) -> JsonObject:
    error = job.error or {"code": job.status.value, "message": f"The answer was {job.status.value}."}
    return {"message": error["message"], "type": "provider_error", "param": None, "code": error["code"]}


def _usage(job: Job) -> JsonObject | None:
    if job.usage is None:
        return None
    told = {name: value for name, value in job.usage.items() if name != "estimated"}
    return {**told, "estimated": True} if job.usage.get("estimated") else told
