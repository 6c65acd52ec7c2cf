"""Items and chat messages as tables: there and back, and what is refused by name."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api.dialects.openai.items.messages import call_item_id, items_of, listed, messages_of
from api.dialects.openai.items.shapes import Item, dumped
from shared.errors import InvalidRequest

HEX = "0123456789abcdef0123456789abcdef"
ITEMS: TypeAdapter[list[Item]] = TypeAdapter(list[Item])

CALL: dict[str, Any] = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
SECOND = {**CALL, "call_id": "call_2", "name": "g"}
OUTPUT: dict[str, Any] = {"type": "function_call_output", "call_id": "call_1", "output": "4"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}
CHAT_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT_SECOND = {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
IMAGE = {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low"}


def converted(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return messages_of(dumped(ITEMS.validate_python(list(items))))


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ([{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Hi"}]),
        ([{"type": "message", "role": "system", "content": "S"}], [{"role": "system", "content": "S"}]),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}],
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        ),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "a"}, IMAGE]}],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image_url", "image_url": {"url": IMAGE["image_url"], "detail": "low"}},
                    ],
                }
            ],
        ),
        (
            [{"role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": [], "logprobs": []}]}],
            [{"role": "assistant", "content": "x"}],
        ),
        (
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
            [{"role": "assistant", "content": None, "refusal": "no"}],
        ),
        ([CALL, SECOND], [{"role": "assistant", "content": None, "tool_calls": [CHAT_CALL, CHAT_SECOND]}]),
        (
            [{"role": "assistant", "content": "Let me see."}, CALL, OUTPUT],
            [
                {"role": "assistant", "content": "Let me see.", "tool_calls": [CHAT_CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "4"},
            ],
        ),
        (
            [{**OUTPUT, "output": [{"type": "input_text", "text": "4"}, {"type": "input_text", "text": "2"}]}],
            [{"role": "tool", "tool_call_id": "call_1", "content": "4\n2"}],
        ),
        (
            [{"type": "reasoning", "id": "rs_1", "summary": []}, {"role": "user", "content": "Hi"}],
            [{"role": "user", "content": "Hi"}],
        ),
    ],
)
def test_items_are_messages(items: list[dict[str, Any]], messages: list[dict[str, Any]]) -> None:
    assert converted(*items) == messages


@pytest.mark.parametrize(
    ("role", "body", "types"),
    [
        ("user", {"content": "Hi"}, ["message"]),
        ("user", {"content": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]}, ["message"]),
        ("assistant", {"content": "x"}, ["message"]),
        ("assistant", {"content": None}, ["message"]),
        ("assistant", {"content": None, "refusal": "no"}, ["message"]),
        ("assistant", {"content": None, "tool_calls": [CHAT_CALL, CHAT_SECOND]}, ["function_call", "function_call"]),
        ("assistant", {"content": "x", "tool_calls": [CHAT_CALL]}, ["message", "function_call"]),
        ("tool", {"content": "4", "tool_call_id": "call_1"}, ["function_call_output"]),
    ],
)
def test_messages_are_items_that_make_the_same_message(role: str, body: dict[str, Any], types: list[str]) -> None:
    items = items_of(f"msg_{HEX}", role, body)
    assert [item["type"] for item in items] == types
    assert len({item["id"] for item in items}) == len(items)
    assert all(item["status"] == "completed" for item in items)
    (again,) = messages_of(dumped(ITEMS.validate_python(items)))
    sent = {name: value for name, value in again.items() if value}
    expected = {"role": role, **{name: value for name, value in body.items() if value}}
    for part in sent.get("content", ()) if isinstance(sent.get("content"), list) else ():
        part.get("image_url", {}).pop("detail", None)
    assert sent == expected


def test_the_ids_of_items_are_made_of_their_message() -> None:
    items = items_of(f"msg_{HEX}", "assistant", {"content": "x", "tool_calls": [CHAT_CALL]})
    assert [item["id"] for item in items] == [f"msg_{HEX}", call_item_id(HEX, str(CHAT_CALL["id"]), [])]
    assert items_of(f"msg_{HEX}", "tool", {"content": "4"})[0]["id"] == f"fco_{HEX}"


def test_a_call_keeps_its_name_when_what_stands_beside_it_goes() -> None:
    second = {**CHAT_CALL, "id": "call_2"}
    _, _, whole = items_of(f"msg_{HEX}", "assistant", {"content": "x", "tool_calls": [CHAT_CALL, second]})
    (alone,) = items_of(f"msg_{HEX}", "assistant", {"content": None, "tool_calls": [second]})
    assert whole["id"] == alone["id"]
    first, again = items_of(f"msg_{HEX}", "assistant", {"content": None, "tool_calls": [CHAT_CALL, CHAT_CALL]})
    assert first["id"] != again["id"]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "custom_tool_call_output", "call_id": "x", "output": "y"},
        {"type": "item_reference"},
        {"role": "nobody", "content": "x"},
        {"role": "user"},
        {"role": "user", "content": [{"type": "input_file", "file_id": "x"}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "x"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "output": "x"},
        {"type": "function_call_output", "call_id": "x", "output": [{"type": "refusal", "refusal": "x"}]},
    ],
)
def test_what_is_no_item_here_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ITEMS.validate_python([item])


def test_an_image_of_anybody_elses_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as refused:
        converted({"role": "user", "content": "x"}, {"role": "system", "content": [IMAGE]})
    assert refused.value.param == "input.1.content"


def test_listed_items_keep_their_ids_or_get_some() -> None:
    items = dumped(
        ITEMS.validate_python(
            [{"role": "user", "content": "Hi", "id": "msg_own"}, {"role": "assistant", "content": "x"}, CALL, OUTPUT]
        )
    )
    views = listed(items, HEX)
    assert [item["id"] for item in views] == ["msg_own", f"msg_{HEX}_in1", f"fc_{HEX}_in2", f"fco_{HEX}_in3"]
    assert views[0]["content"] == [{"type": "input_text", "text": "Hi"}]
    assert views[1]["content"][0]["type"] == "output_text"
