"""Tells the tool calls of a streamed answer apart, and writes them as OpenAI does, so that each reader puts them together alike.

Providers send one index for all calls, or none; an id, or a new one, with every piece, or none; a name once, in each piece, in
halves, or late. What leaves here has an index of its own for each call, whose first piece has its id and its whole name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from shared.ids import new_id
from shared.json_types import JsonObject
from shared.messages.answer import CALL_TEXTS

_OURS = frozenset(("index", "id", "type", *CALL_TEXTS))


class _Piece(NamedTuple):
    """What a provider sent of a call at once."""

    place: int | None
    id: str
    name: str
    text: str


@dataclass
class _Call:
    """A call that grows. `again` is its name where that came once more behind complete arguments: more of them are another call."""

    type: str = "function"
    id: str = ""
    name: str = ""
    more: JsonObject = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    again: str = ""
    index: int | None = None

    def is_whole(self) -> bool:
        """Return whether its arguments are complete: an object ends where it ends, and nothing can follow."""
        if not self.texts or not self.texts[-1].rstrip().endswith("}"):
            return False
        try:
            return isinstance(orjson.loads("".join(self.texts)), dict)
        except orjson.JSONDecodeError:
            return False


class ToolCalls:
    """The tool calls of one answer."""

    def __init__(self) -> None:
        """Begin with none."""
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._shown = 0

    @property
    def are_any(self) -> bool:
        """Whether there are calls."""
        return bool(self._calls)

    def add(self, pieces: Sequence[JsonObject]) -> list[JsonObject]:
        """Take the pieces of one delta, and return those that can be shown now."""
        return [shown for piece in pieces for shown in self._add(piece)]

    def rest(self) -> list[JsonObject]:
        """Return, at the answer's end, the calls that waited for more."""
        return [self._first_piece(call) for call in self._calls if call.index is None]

    def _add(self, piece: JsonObject) -> Iterator[JsonObject]:
        kind = "custom" if piece.get("type") == "custom" or "custom" in piece else "function"
        body: JsonObject = piece.get(kind) or {}
        part = _Piece(piece.get("index"), piece.get("id") or "", body.get("name") or "", body.get(CALL_TEXTS[kind]) or "")
        more = {key: value for key, value in piece.items() if key not in _OURS and value is not None}
        call = self._call_of(part)
        if call is not None and call.again and part.text.strip() and not part.name:
            part = part._replace(name=call.again)
        if call is None or _begins_another(part, call):
            yield from [self._first_piece(waiting) for waiting in self._calls if waiting.index is None and waiting.name]
            call = self._begin(part.place, kind)
        elif (part.id or part.name) and call.is_whole():
            part = part._replace(text="")  # a repetition
            call.again = part.name
        call.id = call.id or part.id
        if call.index is None:
            yield from self._prepare(call, part, more)
        elif part.text or more:
            yield {"index": call.index, **more, **({call.type: {CALL_TEXTS[call.type]: part.text}} if part.text else {})}
            call.texts.append(part.text)

    def _call_of(self, part: _Piece) -> _Call | None:
        """Return the call that a piece may belong to: that at its index; without one, that of its id, or the last."""
        if part.place is not None:
            return self._at.get(part.place)
        same = [call for call in self._calls if part.id and call.id == part.id]
        return next(reversed(same or self._calls), None)

    def _begin(self, index: int | None, kind: str) -> _Call:
        call = _Call(kind)
        self._calls.append(call)
        if index is not None:
            self._at[index] = call
        return call

    def _prepare(self, call: _Call, part: _Piece, more: JsonObject) -> Iterator[JsonObject]:
        """Add to a call that was not shown yet, and show it once its name must be whole: when its arguments begin."""
        if part.name != call.name:
            call.name = part.name if part.name.startswith(call.name) else call.name + part.name
        call.more.update(more)
        if part.text:
            call.texts.append(part.text)
        if call.name and call.texts:
            yield self._first_piece(call)

    def _first_piece(self, call: _Call) -> JsonObject:
        call.index, self._shown = self._shown, self._shown + 1
        call.id = call.id or new_id("call")
        body = {"name": call.name, CALL_TEXTS[call.type]: "".join(call.texts)}
        return {"index": call.index, **call.more, "id": call.id, "type": call.type, call.type: body}


def _begins_another(part: _Piece, call: _Call) -> bool:
    """Return whether a piece begins a call of its own, and does not go on with this one or repeat it.

    Behind complete arguments nothing can go on. Before, an id is no proof: some providers send a new one with every piece.
    """
    has_other_id = bool(part.id and call.id and part.id != call.id)
    has_other_name = bool(part.name and call.name and part.name != call.name)
    if not ((part.id or part.name) and call.is_whole()):
        return has_other_id and bool(part.name) and (has_other_name or part.place is None)
    if part.id and part.id == call.id and not has_other_name:
        return False
    return has_other_id or has_other_name or bool(part.text.strip())
