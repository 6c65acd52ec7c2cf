"""Read the chunks of a chat completion: what each event of its stream adds, in OpenAI's words."""

import json
from typing import Any

import orjson

from shared.json_types import JsonObject
from shared.messages.answer import CALL_TEXTS
from shared.models.base import WORD_CHARS
from workers.providers.base import CUT_SHORT, Chunk
from workers.providers.openai import odd
from workers.providers.openai.errors import broken_off, malformed, page_error, stream_error
from workers.providers.openai.halves import Halves
from workers.providers.openai.tool_calls import ToolCalls

CITATIONS = "citations"
_PAGE = b"<"


class AnswerReader:
    """Reads one answer, chunk by chunk.

    `has_ended` says that it has come to its end, `is_empty` that it was not cut there, and had nothing in it.
    """

    def __init__(self, key: str = "") -> None:
        """Begin with nothing; `key` is removed from an error's message."""
        self._key = key
        self._calls = ToolCalls()
        self._halves = Halves()
        self._citations: Any = None
        self._has_content = False
        self._was_cut = False
        self.has_ended = False

    def read(self, data: bytes) -> Chunk:
        """Read an event's data.

        Raises:
            ProviderError: it is an error, or cannot be read.
        """
        if data.startswith(_PAGE):
            raise page_error(data)
        try:
            fields = self._json(data)
            if not _is_chunk(fields) and (error := odd.error_of(fields)) is not None:
                raise stream_error(error, self._key)
            return self._chunk(fields)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise malformed("The provider sent a malformed chunk.") from error

    @property
    def is_empty(self) -> bool:
        """Whether it has ended, was not cut, and had nothing in it."""
        return self.has_ended and not (self._was_cut or self._has_content)

    def end(self) -> Chunk:
        """Read that nothing follows: such an answer is whole, though it may have given no reason."""
        if self.has_ended:
            return Chunk()
        return self._noted(Chunk(self._with_rest(None), "tool_calls" if self._calls.are_any else "stop"))

    def _chunk(self, fields: JsonObject) -> Chunk:
        choice: JsonObject = fields["choices"][0] if fields.get("choices") else {}
        reason, usage = choice.get("finish_reason"), odd.usage_of(fields.get("usage"))
        delta = choice.get("delta")
        if not delta or not _is_plain(delta):
            delta = odd.plain_delta(odd.delta_of(choice))
        if isinstance(citations := fields.get(CITATIONS), list) and citations:
            delta = self._with_citations(delta, citations)
        _check(delta or {}, reason)
        if delta and delta.get("tool_calls"):
            delta = self._with_calls(delta)
        if reason:
            reason = _reason(reason)
            delta = self._with_rest(delta)
        logprobs = choice.get("logprobs")
        return self._noted(Chunk(delta, reason, usage, logprobs=logprobs if isinstance(logprobs, dict) else None))

    def _noted(self, chunk: Chunk) -> Chunk:
        """Note what a chunk says about the answer's end, and return it."""
        self._has_content = self._has_content or chunk.has_content()
        if chunk.finish_reason:
            self.has_ended, self._was_cut = True, chunk.finish_reason in CUT_SHORT
        return chunk

    def _json(self, data: bytes) -> Any:
        """Read JSON; some providers write NaN and infinities in it, which stand for nothing here, and cut emojis in two."""
        try:
            read = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self._halves.repaired(json.loads(data, parse_constant=lambda _: None))
        return self._halves.repaired(read) if self._halves.are_held else read

    def _with_calls(self, delta: JsonObject) -> JsonObject:
        calls = self._calls.add(delta["tool_calls"])
        others = {name: value for name, value in delta.items() if name != "tool_calls"}
        return {**others, "tool_calls": calls} if calls else others

    def _with_rest(self, delta: JsonObject | None) -> JsonObject | None:
        rest = self._calls.rest()
        return {**(delta or {}), "tool_calls": [*((delta or {}).get("tool_calls") or ()), *rest]} if rest else delta

    def _with_citations(self, delta: JsonObject | None, citations: Any) -> JsonObject | None:
        """Add the citations, which come beside the choices, where they are not those that came before."""
        if citations == self._citations:
            return delta
        self._citations = citations
        return {**(delta or {}), CITATIONS: citations}


def _is_chunk(fields: Any) -> bool:
    """Return whether it certainly is a chunk, as nearly everything is."""
    return isinstance(fields, dict) and bool(fields.get("choices")) and "error" not in fields


def _reason(reason: str) -> str:
    if reason.lower() in odd.FAULTS:
        raise broken_off(f"The provider ended the answer with: {reason[:WORD_CHARS]}.")
    return odd.finish_reason(reason)[:WORD_CHARS]


def _is_plain(delta: JsonObject) -> bool:
    """Return whether a delta has text and nothing that is often odd."""
    return isinstance(delta.get("content"), str) and "tool_calls" not in delta


def _check(delta: JsonObject, finish_reason: Any) -> None:
    """Raise a TypeError or an AttributeError for what could be shown but not be assembled or stored."""
    texts = [finish_reason, *(delta.get(name) for name in odd.TEXTS)]
    numbers = []
    for call in delta.get("tool_calls") or ():
        texts += [call.get("id"), call.get("type")]
        for kind, text in CALL_TEXTS.items():
            body = call.get(kind) or {}
            texts += [body.get("name"), body.get(text)]
        numbers.append(call.get("index"))
    if not all(text is None or isinstance(text, str) for text in texts):
        raise TypeError("not a text")
    if not all(number is None or (isinstance(number, int) and 0 <= number <= odd.MAX_COUNT) for number in numbers):
        raise TypeError("not a count")
