"""JSON as Go reads and writes it."""

import pytest

from api.http import go_json

NAMES = ("id", "data")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {"id": "", "data": ""}),
        ("null", {"id": "", "data": ""}),
        ('{"id": null, "data": "a"}', {"id": "", "data": "a"}),
        ('{"ID": "a", "Data": "b", "other": [1, {"id": 5}]}', {"id": "a", "data": "b"}),
        ('{"id": "a", "ID": "b"}', {"id": "b", "data": ""}),
        ('{"id": "a", "id": null}', {"id": "", "data": ""}),
        (b'{"id": "\xff"}', {"id": "\ufffd", "data": ""}),
        ('{"id": "a\\u0000b"}', {"id": "a\ufffdb", "data": ""}),
        ('{"id": "\\ud83d\\ude00 \\ud800"}', {"id": "😀 \ufffd", "data": ""}),
    ],
)
def test_an_object_of_strings(text: str | bytes, expected: dict[str, str]) -> None:
    assert go_json.strings(text, NAMES, whole=True) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "[]", "5", "true", '"a"', '{"id": 5}', '{"id": true}', '{"id": {}}', '{"id": NaN}', "\ufeff{}", "[" * 100_000],
)
def test_what_is_no_object_of_strings(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        go_json.strings(text, NAMES, whole=False)


def test_what_may_follow() -> None:
    assert go_json.strings('{"id": "a"} {"id": "b"}', NAMES, whole=False)["id"] == "a"
    assert go_json.strings(' {"id": "a"}\n', NAMES, whole=True)["id"] == "a"
    with pytest.raises(ValueError, match="after top-level value"):
        go_json.strings('{"id": "a"} x', NAMES, whole=True)


def test_writing() -> None:
    assert (
        go_json.written({"b": "<&>ü\u2028", "a": None, "c": [1, {}]}) == '{"b":"\\u003c\\u0026\\u003eü\\u2028","a":null,"c":[1,{}]}'
    )
