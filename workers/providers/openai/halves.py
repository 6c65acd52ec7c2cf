"""Puts characters together that a provider sent in two halves: an emoji is two UTF-16 units, and some cut between them."""

from typing import Any

_FIRST, _LAST = "\ud800", "\udbff"
"""Between these is the first half of a character."""

Place = tuple[int | str, ...]


class Halves:
    """What is left over of one answer's texts, each by its place in a chunk."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._held: dict[Place, str] = {}

    @property
    def are_held(self) -> bool:
        """Whether the next chunk may have another half."""
        return bool(self._held)

    def repaired(self, chunk: Any, place: Place = ()) -> Any:
        """Return a chunk in which a text begins with what was left over of it, and does not end in half a character.

        A half without another becomes the replacement character.
        """
        if isinstance(chunk, dict):
            return {_whole(name): self.repaired(part, (*place, name)) for name, part in chunk.items()}
        if isinstance(chunk, list):
            return [self.repaired(part, (*place, number)) for number, part in enumerate(chunk)]
        return self._text(chunk, place) if isinstance(chunk, str) else chunk

    def _text(self, text: str, place: Place) -> str:
        text = self._held.pop(place, "") + text
        if text and _FIRST <= text[-1] <= _LAST:
            self._held[place], text = text[-1], text[:-1]
        return _whole(text)


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
