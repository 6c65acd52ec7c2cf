"""The smallest instance of a schema: valid, and finite where the schema refers to itself."""

from typing import Any

import pytest

from dev.model.schema import minimal
from dev.model.wire import Refusal

NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["value", "next"],
}


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "string"}, "demo"),
        ({"type": "string", "minLength": 6}, "demooo"),
        ({"type": "string", "maxLength": 2}, "de"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3, "multipleOf": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "exclusiveMaximum": -2}, -3),
        ({"type": "number", "minimum": 0.2, "maximum": 0.4}, pytest.approx(0.3)),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, "demo"),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": {"x": 1}}, {"x": 1}),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 3}, [1, 2, 2]),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]}, {"a": None}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
        ({"oneOf": [{"const": 7}]}, 7),
        (
            {
                "allOf": [
                    {"properties": {"a": {"const": 1}}, "required": ["a"]},
                    {"properties": {"b": {"const": 2}}, "required": ["b"]},
                ]
            },
            {"a": 1, "b": 2},
        ),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 5}}}, 5),
        ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, {"value": 0, "next": None}),
        ({"type": "object", "properties": {"child": {"$ref": "#"}}, "required": []}, {}),
        (True, "demo"),
        ({}, "demo"),
    ],
)
def test_the_instance_is_minimal_and_valid(schema: Any, instance: Any) -> None:
    assert minimal(schema) == instance


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "https://example.com/schema"},
        {"type": "object", "properties": "none", "required": ["a"]},
        {"type": "array", "minItems": "two"},
    ],
)
def test_a_schema_without_an_instance_is_refused(schema: Any) -> None:
    with pytest.raises(Refusal) as refusal:
        minimal(schema)
    assert refusal.value.status == 400
