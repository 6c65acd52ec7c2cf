"""Read the chunks of a chat completion: what each event of its stream adds, in OpenAI's words."""

import json
from typing import Any

import orjson

from shared.json_types import JsonObject
from shared.models.base import WORD_CHARS
from workers.providers.base import CUT_SHORT, Chunk
from workers.providers.openai import odd
from workers.providers.openai.errors import broken_off, malformed, page_error, stream_error
from workers.providers.openai.halves import Halves
from workers.providers.openai.tool_calls import ToolCalls

_PAGE = b"<"


class AnswerReader:
    """Reads one answer, chunk by chunk. `is_empty` says that it has come to its end, uncut, and had nothing in it."""

    def __init__(self, key: str = "") -> None:
        """Begin with nothing; `key` is removed from an error's message."""
        self._key = key
        self._calls = ToolCalls()
        self._halves = Halves()
        self._beside: JsonObject = {}
        self._has_content = False
        self.is_empty = False

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
    def has_calls(self) -> bool:
        """Whether the answer calls tools."""
        return self._calls.are_any

    def rest(self) -> JsonObject | None:
        """Return the delta of what still waited for more when the answer ended; None where nothing did."""
        calls = self._calls.rest()
        return {"tool_calls": calls} if calls else None

    def _chunk(self, fields: JsonObject) -> Chunk:
        choice: JsonObject = fields["choices"][0] if fields.get("choices") else {}
        reason, usage = choice.get("finish_reason"), odd.usage_of(fields.get("usage"))
        delta = choice.get("delta")
        if not delta or not _is_plain(delta):
            delta = odd.plain_delta(odd.delta_of(choice))
        if odd.CITATIONS in fields:
            delta = self._with_beside(delta, odd.beside(fields))
        _check(delta or {}, reason)
        if delta and delta.get("tool_calls"):
            delta = self._with_calls(delta)
        if reason:
            reason = _reason(reason)
            delta = self._with_rest(delta)
        if reason or not self._has_content:
            self._judge(delta, reason)
        logprobs = choice.get("logprobs")
        return Chunk(delta, reason, usage, logprobs=logprobs if isinstance(logprobs, dict) else None)

    def _judge(self, delta: JsonObject | None, reason: str | None) -> None:
        """Note whether the answer still is empty: only one that was cut may be."""
        self._has_content = self._has_content or any(value for name, value in (delta or {}).items() if name != "role")
        if reason:
            self.is_empty = reason not in CUT_SHORT
        self.is_empty = self.is_empty and not self._has_content

    def _json(self, data: bytes) -> Any:
        """Read JSON; some providers write NaN and infinities in it, which stand for nothing here, and cut emojis in two."""
        try:
            read = orjson.loads(data)
        except orjson.JSONDecodeError:
            read = json.loads(data, parse_constant=lambda _: None)
            return self._halves.repaired(read)
        return self._halves.repaired(read) if self._halves.are_held else read

    def _with_calls(self, delta: JsonObject) -> JsonObject:
        calls = self._calls.add(delta["tool_calls"])
        others = {name: value for name, value in delta.items() if name != "tool_calls"}
        return {**others, "tool_calls": calls} if calls else others

    def _with_rest(self, delta: JsonObject | None) -> JsonObject | None:
        rest = self._calls.rest()
        return {**(delta or {}), "tool_calls": [*((delta or {}).get("tool_calls") or ()), *rest]} if rest else delta

    def _with_beside(self, delta: JsonObject | None, beside: JsonObject) -> JsonObject | None:
        """Add what came beside the choices, where it is not what came before."""
        news = {name: value for name, value in beside.items() if self._beside.get(name) != value}
        self._beside.update(news)
        return {**(delta or {}), **news} if news else delta


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
        for kind, text in (("function", "arguments"), ("custom", "input")):
            body = call.get(kind) or {}
            texts += [body.get("name"), body.get(text)]
        numbers.append(call.get("index"))
    if not all(text is None or isinstance(text, str) for text in texts):
        raise TypeError("not a text")
    if not all(number is None or (isinstance(number, int) and 0 <= number <= odd.MAX_COUNT) for number in numbers):
        raise TypeError("not a count")
