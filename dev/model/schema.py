"""The smallest instance of a JSON schema.

Covers what structured outputs and tool parameters use: types, enum, const, anyOf, oneOf, allOf, $ref (recursive ones
too), bounds, lengths and the common string formats. Not `pattern`, `not`, `if` and `uniqueItems`.
"""

import math
from typing import Any, TypeAlias

from dev.model.wire import Refusal

Schema: TypeAlias = dict[str, Any]

_SAMPLE_TEXT = "demo"
_SAMPLE_BY_FORMAT = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class _EndlessError(Exception):
    """This branch refers to itself and would never end."""


def minimal(schema: Any) -> Any:
    """Return the smallest instance: only required properties, only as many items as there must be."""
    try:
        return _Builder(schema).build(schema, frozenset())
    except _EndlessError as error:
        raise Refusal(400, "The JSON schema has no finite instance.", code="invalid_schema") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Refusal(400, "The JSON schema makes no sense.", code="invalid_schema") from error


class _Builder:
    """Builds instances of one root schema. `seen` are the references that were followed on the way."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def build(self, schema: Any, seen: frozenset[str]) -> Any:
        schema, seen = self._resolved(schema, seen)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if "allOf" in schema:
            return self.build(*self._merged(_without(schema, "allOf"), schema["allOf"], seen))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._first_that_ends(_without(schema, keyword), schema[keyword], seen)
        if isinstance(schema.get("type"), list):
            return self._first_that_ends(schema, [{"type": name} for name in schema["type"]], seen)
        return self._build_typed(schema, seen)

    def _build_typed(self, schema: Schema, seen: frozenset[str]) -> Any:
        match schema.get("type") or _guessed_type(schema):
            case "object":
                properties = schema.get("properties") or {}
                return {name: self.build(properties.get(name), seen) for name in schema.get("required") or ()}
            case "array":
                first = schema.get("prefixItems") or []
                size = schema.get("minItems", 0)
                return [self.build(first[i] if i < len(first) else schema.get("items"), seen) for i in range(size)]
            case "integer":
                return int(_number(schema, step=schema.get("multipleOf", 1)))
            case "number":
                return _number(schema, step=schema.get("multipleOf"))
            case "boolean":
                return False
            case "null":
                return None
            case _:
                return _text(schema)

    def _first_that_ends(self, base: Schema, options: list[Any], seen: frozenset[str]) -> Any:
        for option in options:
            try:
                return self.build(*self._merged(base, [option], seen))
            except _EndlessError:
                continue
        raise _EndlessError

    def _merged(self, base: Schema, parts: list[Any], seen: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        """Merge the parts into the base; properties and required names are united."""
        merged = dict(base)
        for part in parts:
            plain, seen = self._resolved(part, seen)
            properties = {**(merged.get("properties") or {}), **(plain.get("properties") or {})}
            required = dict.fromkeys([*(merged.get("required") or ()), *(plain.get("required") or ())])
            merged.update(plain, properties=properties, required=list(required))
        return merged, seen

    def _resolved(self, schema: Any, seen: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        """Return the schema that a reference leads to, and the references followed so far."""
        if not isinstance(schema, dict):
            return {}, seen  # `true`, or nothing: anything goes
        while "$ref" in schema:
            reference = schema["$ref"]
            if reference in seen:
                raise _EndlessError
            seen = seen | {reference}
            schema = {**self._target(reference), **_without(schema, "$ref")}
        return schema, seen

    def _target(self, reference: str) -> Schema:
        found = self._root
        for step in str(reference).removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, dict) or not str(reference).startswith("#"):
            raise Refusal(400, f"The JSON schema refers to {reference}, which is not in it.", code="invalid_schema")
        return found


def _without(schema: Schema, keyword: str) -> Schema:
    return {name: value for name, value in schema.items() if name != keyword}


def _guessed_type(schema: Schema) -> str:
    if schema.get("properties") or schema.get("required"):
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _number(schema: Schema, step: float | None) -> float:
    """Return the number nearest to 0 on the grid of the step; without a step, the middle of a narrow range."""
    unit = step or 1
    low: float = schema.get("minimum", -math.inf)
    above: float = schema.get("exclusiveMinimum", -math.inf)
    high: float = schema.get("maximum", math.inf)
    below: float = schema.get("exclusiveMaximum", math.inf)
    value: float = 0
    if value < low:
        value = math.ceil(low / unit) * unit
    if value <= above:
        value = (math.floor(above / unit) + 1) * unit
    if value > high:
        value = math.floor(high / unit) * unit
    if value >= below:
        value = (math.ceil(below / unit) - 1) * unit
    if step is None and not (low <= value <= high and above < value < below):
        return (max(low, above) + min(high, below)) / 2
    return value


def _text(schema: Schema) -> str:
    sample = _SAMPLE_BY_FORMAT.get(schema.get("format", ""), _SAMPLE_TEXT)
    if "maxLength" in schema:
        sample = sample[: schema["maxLength"]]
    return sample.ljust(schema.get("minLength", 0), "o")
