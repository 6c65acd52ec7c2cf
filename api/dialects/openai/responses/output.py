"""The output of a response, in items and events, as its log's deltas make it grow. Pure: the same log gives the same, each time.

The shapes are openai/openai-openapi 2.3.0's. The SDK's `responses.stream()` reads them closely: an item is added before any other
event names it, each `output_index` once, and what was begun is finished before the response is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from api.dialects.openai.items.messages import call_item_id
from shared.json_types import JsonObject

IN_PROGRESS = "in_progress"
COMPLETED = "completed"
INCOMPLETE = "incomplete"

MAX_FRAGMENTS = 256
"""How many fragments of a text are kept apart: a string of a few letters takes ten times their room."""

REASONING_NAMES = ("reasoning_content", "reasoning")
"""Names of the field for a model's thoughts in a chat completion's delta, by provider; OpenAI's own has none."""

_TEXT = "output_text"
_REFUSAL = "refusal"
_THOUGHT = "reasoning_text"
_TEXT_FIELDS = {_TEXT: "text", _REFUSAL: "refusal", _THOUGHT: "text"}


class _Text:
    """A text that grows by fragments. Each reader of a response holds one, so a text that has grown long is kept as one string."""

    def __init__(self) -> None:
        self._fragments: list[str] = []

    def add(self, fragment: str) -> None:
        self._fragments.append(fragment)
        if len(self._fragments) > MAX_FRAGMENTS:
            self._fragments = ["".join(self._fragments)]

    def __str__(self) -> str:
        return "".join(self._fragments)


@dataclass
class _Part:
    """A part of content that grows: a text, a refusal or a thought."""

    kind: str
    index: int
    text: _Text = field(default_factory=_Text)

    def shown(self) -> JsonObject:
        more: JsonObject = {"annotations": [], "logprobs": []} if self.kind == _TEXT else {}
        return {"type": self.kind, _TEXT_FIELDS[self.kind]: str(self.text), **more}


@dataclass
class _Content:
    """A message or a reasoning item: a list of parts, the last of which may still grow."""

    id: str
    index: int
    type: str
    status: str = IN_PROGRESS
    parts: list[_Part] = field(default_factory=list)

    def shown(self) -> JsonObject:
        item: JsonObject = {
            "id": self.id,
            "type": self.type,
            "status": self.status,
            "content": [part.shown() for part in self.parts],
        }
        return {**item, "role": "assistant"} if self.type == "message" else {**item, "summary": []}

    def add(self, kind: str, fragment: str) -> Iterator[JsonObject]:
        part = self.parts[-1] if self.parts else None
        if part is None or part.kind != kind:
            if part is not None:
                yield from self._finish(part, is_whole=True)
            part = _Part(kind, len(self.parts))
            self.parts.append(part)
            yield {"type": "response.content_part.added", **self._place(part), "part": part.shown()}
        part.text.add(fragment)
        more: JsonObject = {"logprobs": []} if kind == _TEXT else {}
        yield {"type": f"response.{kind}.delta", **self._place(part), "delta": fragment, **more}

    def end(self, status: str, *, is_whole: bool) -> Iterator[JsonObject]:
        self.status = status
        if self.parts:
            yield from self._finish(self.parts[-1], is_whole=is_whole)
        yield {"type": "response.output_item.done", "output_index": self.index, "item": self.shown()}

    def _finish(self, part: _Part, *, is_whole: bool) -> Iterator[JsonObject]:
        if is_whole:  # the SDK parses a text that is done, which half a JSON would not survive
            more: JsonObject = {"logprobs": []} if part.kind == _TEXT else {}
            yield {"type": f"response.{part.kind}.done", **self._place(part), _TEXT_FIELDS[part.kind]: str(part.text), **more}
        yield {"type": "response.content_part.done", **self._place(part), "part": part.shown()}

    def _place(self, part: _Part) -> JsonObject:
        return {"item_id": self.id, "output_index": self.index, "content_index": part.index}


@dataclass
class _Call:
    """A function call: its arguments grow."""

    id: str
    index: int
    call_id: str
    name: str
    status: str = IN_PROGRESS
    arguments: _Text = field(default_factory=_Text)

    def shown(self) -> JsonObject:
        call: JsonObject = {"call_id": self.call_id, "name": self.name, "arguments": str(self.arguments)}
        return {"id": self.id, "type": "function_call", "status": self.status, **call}

    def add(self, fragment: str) -> Iterator[JsonObject]:
        self.arguments.add(fragment)
        place: JsonObject = {"item_id": self.id, "output_index": self.index}
        yield {"type": "response.function_call_arguments.delta", **place, "delta": fragment}

    def end(self, status: str, *, is_whole: bool) -> Iterator[JsonObject]:
        self.status = status
        if is_whole:
            place: JsonObject = {"item_id": self.id, "output_index": self.index}
            done: JsonObject = {"name": self.name, "arguments": str(self.arguments)}
            yield {"type": "response.function_call_arguments.done", **place, **done}
        yield {"type": "response.output_item.done", "output_index": self.index, "item": self.shown()}


class Output:
    """The output of one response as it grows, delta by delta."""

    def __init__(self, base: str) -> None:
        """Begin with no items; their ids will be made from `base`."""
        self._base = base
        self._begun = 0
        self._has_dropped = False
        self._items: list[_Content | _Call] = []
        self._calls: dict[int, _Call] = {}

    def items(self) -> list[JsonObject]:
        """Return the items of the answer as it now is, without those of an answer that began anew."""
        return [item.shown() for item in self._items]

    def add(self, delta: JsonObject) -> Iterator[JsonObject]:
        """Add one delta of a chat completion, and yield the events that it is."""
        for name in REASONING_NAMES:
            if isinstance(delta.get(name), str) and delta[name]:
                yield from self._add_text("reasoning", "rs", _THOUGHT, delta[name])
        if delta.get("content"):
            yield from self._add_text("message", "msg", _TEXT, delta["content"])
        if delta.get("refusal"):
            yield from self._add_text("message", "msg", _REFUSAL, delta["refusal"])
        for fragment in delta.get("tool_calls") or ():
            yield from self._add_call(fragment)

    def end(self, status: str, *, is_whole: bool) -> Iterator[JsonObject]:
        """Finish what is still growing, and yield the events; without `is_whole` no text is said to be done."""
        for item in self._items:
            if item.status == IN_PROGRESS:
                yield from item.end(status, is_whole=is_whole)

    def drop(self) -> Iterator[JsonObject]:
        """Begin the answer anew, in new items, and yield the events: the old ones end as incomplete, and leave the answer."""
        yield from self.end(INCOMPLETE, is_whole=False)
        self._has_dropped = self._has_dropped or bool(self._items)
        self._items, self._calls = [], {}

    def _add_text(self, kind: str, prefix: str, part: str, fragment: str) -> Iterator[JsonObject]:
        item = self._growing()
        if item is None or item.type != kind:
            if item is not None:
                yield from item.end(COMPLETED, is_whole=True)
            item = _Content(self._id(prefix), self._begun, kind)
            yield from self._begin(item)
        yield from item.add(part, fragment)

    def _add_call(self, fragment: JsonObject) -> Iterator[JsonObject]:
        """Add a fragment of a tool call. Calls stay open to the answer's end: a provider may send fragments by turns."""
        function = fragment.get("function") or {}
        place = fragment.get("index") or 0
        call = self._calls.get(place)
        if call is None:
            if (open_item := self._growing()) is not None:
                yield from open_item.end(COMPLETED, is_whole=True)
            call_id = fragment.get("id") or ""
            call = _Call(self._call_item_id(call_id), self._begun, call_id, function.get("name") or "")
            self._calls[place] = call
            yield from self._begin(call)
        if function.get("arguments"):
            yield from call.add(function["arguments"])

    def _growing(self) -> _Content | None:
        last = next((item for item in reversed(self._items) if isinstance(item, _Content)), None)
        return last if last is not None and last.status == IN_PROGRESS else None

    def _begin(self, item: _Content | _Call) -> Iterator[JsonObject]:
        self._items.append(item)
        self._begun += 1
        yield {"type": "response.output_item.added", "output_index": item.index, "item": item.shown()}

    def _call_item_id(self, call_id: str) -> str:
        """Return a call's id as its conversation has it; once the answer began anew, with its place: ids are used once."""
        name = call_item_id(self._base, call_id, [call.id for call in self._calls.values()])
        return f"{name}_{self._begun}" if self._has_dropped else name

    def _id(self, prefix: str) -> str:
        """Return an item's id: the first message has its row's, all others also have their place in theirs."""
        first_message = prefix == "msg" and self._begun == 0
        return f"{prefix}_{self._base}" if first_message else f"{prefix}_{self._base}_{self._begun}"
