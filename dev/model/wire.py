"""OpenAI's wire format as the built-in model writes it: refusals, chunks of a stream, whole completions, usage."""

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

SYSTEM_FINGERPRINT = "fp_builtin"
DONE_EVENT = b"data: [DONE]\n\n"
# Valid as an SSE event, cut off in the middle as JSON.
MALFORMED_EVENT = b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"con\n\n'

_TYPE_BY_STATUS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODE_BY_STATUS = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


class Refusal(Exception):
    """An error answer: a status and OpenAI's error envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the reason; the type, and the code where there is none, follow from the status."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code or _CODE_BY_STATUS.get(status)
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the envelope as JSON."""
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPE_BY_STATUS.get(self.status, default)
        return orjson.dumps({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The function that an answer calls; its arguments are the answer's tokens."""

    name: str
    id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The tokens of a text, or of the arguments of one tool call. Each is one chunk of a stream."""

    tokens: list[str]
    finish_reason: str = "stop"
    call: ToolCall | None = None

    def deltas(self) -> Iterator[dict[str, Any]]:
        """Yield the delta of each token; the id and the name of a tool call are in the first one only."""
        call = self.call
        if call is None:
            for token in self.tokens:
                yield {"content": token}
            return
        opening: dict[str, Any] = {"id": call.id, "type": "function"}
        named = {"name": call.name}
        for token in self.tokens:
            yield {"tool_calls": [{"index": 0, **opening, "function": {**named, "arguments": token}}]}
            opening, named = {}, {}

    def message(self) -> dict[str, Any]:
        """Return the whole message of the assistant."""
        text = "".join(self.tokens)
        if self.call is None:
            return {"role": "assistant", "content": text, "refusal": None}
        function = {"name": self.call.name, "arguments": text}
        call = {"id": self.call.id, "type": "function", "function": function}
        return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


class Completion:
    """One answer as bytes. Each event is made when it is sent, so that the clock in it is the time of sending."""

    def __init__(self, model: str, answer: Answer, *, prompt_tokens: int, usage: bool, clock: bool) -> None:
        """Keep the answer. With `usage` the client gets its token counts, with `clock` each chunk has the time."""
        self._answer = answer
        self._clock = clock
        self._common = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "service_tier": "default",
            "system_fingerprint": SYSTEM_FINGERPRINT,
        }
        self._usage = _usage(prompt_tokens, len(answer.tokens)) if usage else None
        # The same for every chunk of a stream, hence made once: a chunk costs one small dumps and one concatenation.
        self._head = b"data: " + orjson.dumps(self._common)[:-1] + b',"choices":[{"index":0,"delta":'
        self._tail = b',"usage":null}\n\n' if usage else b"}\n\n"

    def opening(self) -> bytes:
        """Return the event before the text, which has the role."""
        content = "" if self._answer.call is None else None
        return self._event({"role": "assistant", "content": content, "refusal": None})

    def events(self) -> Iterator[bytes]:
        """Yield one event per token, the first with the opening before it, which saves a write."""
        lead = self.opening()
        for delta in self._answer.deltas():
            yield lead + self._event(delta)
            lead = b""

    def closing(self) -> bytes:
        """Return the last events: the finish reason, the usage where the client wants it, and the end mark."""
        last = self._event({}, orjson.dumps(self._answer.finish_reason))
        if self._usage is None:
            return last + DONE_EVENT
        totals = {**self._common, "choices": [], "usage": self._usage, **self._stamp()}
        return last + b"data: " + orjson.dumps(totals) + b"\n\n" + DONE_EVENT

    def whole(self) -> bytes:
        """Return the completion that is not streamed."""
        stamp = self._stamp()
        message = {**self._answer.message(), **stamp}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._answer.finish_reason}
        body = {**self._common, "object": "chat.completion", "choices": [choice], **stamp}
        return orjson.dumps(body if self._usage is None else {**body, "usage": self._usage})

    def _stamp(self) -> dict[str, int]:
        return {"clock": time.monotonic_ns()} if self._clock else {}

    def _event(self, delta: dict[str, Any], finish_reason: bytes = b"null") -> bytes:
        stamp = b""
        if self._clock:
            now_ns = time.monotonic_ns()
            stamp = b',"clock":%d' % now_ns
            if delta:  # the delta of the last chunk stays empty, as on OpenAI's wire
                delta["clock"] = now_ns
        end = b',"logprobs":null,"finish_reason":' + finish_reason + b"}]" + stamp + self._tail
        return self._head + orjson.dumps(delta) + end


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
