"""Tool calls of a stream, told apart: however they are cut, each reader puts the same calls together."""

import itertools
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from shared import events
from shared.json_types import JsonObject
from shared.messages.answer import assemble
from workers.providers.openai.halves import Halves
from workers.providers.openai.tool_calls import ToolCalls

CALLS = st.lists(
    st.tuples(st.sampled_from(["get_time", "get_weather", "f"]), st.dictionaries(st.sampled_from("ab"), st.text(max_size=4))),
    min_size=1,
    max_size=4,
)


def put_together(deltas: list[list[JsonObject]]) -> list[JsonObject]:
    """Return the calls of the message that a log of these deltas becomes."""
    log = [events.make(1, seq, events.DELTA, {"delta": {"tool_calls": pieces}}) for seq, pieces in enumerate(deltas, 1)]
    calls: list[JsonObject] = assemble(log).get("tool_calls", [])
    return calls


def read(pieces: list[JsonObject]) -> list[tuple[str, str]]:
    """Return the calls, name and arguments, that pieces are, each of which comes with a delta of its own."""
    calls = ToolCalls()
    deltas = [calls.add([piece]) for piece in pieces]
    found = put_together([*deltas, calls.rest()])
    ids = [call["id"] for call in found]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return [(call["function"]["name"], call["function"]["arguments"]) for call in found]


def cut(text: str, places: list[int]) -> list[str]:
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(bounds)]


@given(CALLS, st.lists(st.integers(0, 100), max_size=5), st.booleans(), st.booleans(), st.sampled_from(["own", "one", "none"]))
def test_calls_are_the_same_however_they_are_cut(
    calls: list[tuple[str, dict[str, str]]], places: list[int], has_ids: bool, repeats: bool, index: str
) -> None:
    pieces: list[JsonObject] = []
    for number, (name, arguments) in enumerate(calls):
        text = orjson.dumps(arguments).decode()
        for part, fragment in enumerate(cut(text, places)):
            names = repeats or part == 0
            piece: JsonObject = {"function": {"arguments": fragment, **({"name": name} if names else {})}}
            piece |= {"id": f"call_{number}"} if has_ids and names else {}
            piece |= {} if index == "none" else {"index": number if index == "own" else 0}
            pieces.append(piece)

    assert read(pieces) == [(name, orjson.dumps(arguments).decode()) for name, arguments in calls]


def test_a_name_waits_until_it_is_whole() -> None:
    calls = ToolCalls()

    assert calls.add([{"index": 0, "id": "a", "function": {"name": "get_", "arguments": ""}}]) == []
    assert calls.add([{"index": 0, "function": {"name": "time"}}]) == []
    first: JsonObject = {"index": 0, "id": "a", "type": "function", "function": {"name": "get_time", "arguments": "{"}}
    assert calls.add([{"index": 0, "function": {"arguments": "{"}}]) == [first]
    assert calls.add([{"index": 0, "function": {"arguments": "}"}}]) == [{"index": 0, "function": {"arguments": "}"}}]
    assert calls.rest() == []


def test_a_custom_call_has_an_input() -> None:
    calls = ToolCalls()
    pieces: list[Any] = [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "patch", "input": "*** "}}]
    pieces.append({"index": 0, "custom": {"input": "End"}})

    found = put_together([calls.add([piece]) for piece in pieces])

    assert found == [{"id": "a", "type": "custom", "custom": {"name": "patch", "input": "*** End"}}]


@given(st.text(alphabet="aä😀\U0010ffff", max_size=8), st.lists(st.integers(0, 20), max_size=6))
def test_characters_cut_in_two_are_put_together(text: str, places: list[int]) -> None:
    units = text.encode("utf-16-le")
    bounds = [0, *sorted(2 * (place % (len(units) // 2 + 1)) for place in places), len(units)]
    halves = Halves()
    parts = [units[start:end].decode("utf-16-le", "surrogatepass") for start, end in itertools.pairwise(bounds)]

    assert "".join(halves.repaired({"content": part})["content"] for part in parts) == text
