"""Validate request bodies: the base of all request models, and the errors that name the wrong field."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

from flask import request
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from werkzeug.exceptions import RequestEntityTooLarge

from api.http.nul import NUL
from shared.errors import InvalidRequest

MAX_DEPTH = 100
"""How deep values may be nested: deeper than any sensible JSON Schema, and not too deep for databases and providers."""
MAX_VALUES = 50_000
"""How many values a request may hold: each is looked at several times, and the process does nothing else meanwhile."""
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""Most readers of JSON take no integers beyond these."""

WRONG_TYPE = ("_type", "none_required")
"""How pydantic's errors end that say no more than that a value is of another type."""

_PLAIN = {"none_required": "cannot be used here"}
"""What we say in place of pydantic's own words, by its kind of error."""

NULL_IS_ABSENT = {"null": "absent"}
"""The context of a validation (pydantic's `context`) that reads a null as if the field were not there, known or unknown."""

Path = tuple[int | str, ...]


class Body(BaseModel):
    """A request's body. Refuses unknown fields, other types, infinities, and text that no database can store."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_values(cls, value: Any, info: ValidationInfo) -> Any:
        if info.mode == "json":  # flask-openapi takes a JSON string for JSON once more
            _refuse_body()
        check_values(value)
        return cls._without_nulls(value) if info.context is NULL_IS_ABSENT else value

    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Return an object without its nulls.

        Those of required fields are kept, since validation judges them, and those of fields whose default is None anyway.
        """
        if not isinstance(value, dict):
            return value
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        kept = {name for name, field in fields.items() if field.is_required() or field.default is None}
        return {name: part for name, part in value.items() if part is not None or name in kept}


class Described(BaseModel):
    """A model of headers or of a query. flask-openapi asks for its schema with every request, so that it is made once."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the JSON Schema; the one without arguments is made once, and not to be changed."""
        return super().model_json_schema(*args, **kwargs) if args or kwargs else _schema(cls)


@cache
def _schema(model: type[Described]) -> dict[str, Any]:
    return super(Described, model).model_json_schema()


class Query(Described, Body):
    """A query string: numbers are read from their text."""

    model_config = ConfigDict(strict=False)


def check_values(value: Any) -> None:
    """Check that a request's body has not too many values, and none that a database or a provider could not take.

    Raises:
        InvalidRequest: it has; the place of the value is named.
    """
    if _count(value) > MAX_VALUES:
        raise InvalidRequest(f"A request may hold {MAX_VALUES} values.", param="body")
    _check(value, ())


def refuse(error: ValidationError) -> NoReturn:
    """Raise our error for what validation found, naming the field.

    Where a field may have several types, pydantic reports what is wrong by each of them; the report that names the deepest
    place is used, and of these rather one that found the right type and something wrong with the value.

    Raises:
        InvalidRequest: always, unless the body was too large.
        RequestEntityTooLarge: the body was cut off at the limit.
    """
    found = error.errors(include_url=False, include_input=False)
    wrong = max(found, key=lambda each: (len(each["loc"]), not each["type"].endswith(WRONG_TYPE)))
    if not wrong["loc"]:
        _refuse_body()
    param = _dotted(_requested(wrong["loc"], is_missing=wrong["type"] == "missing"))
    if wrong["type"] == "extra_forbidden":
        raise InvalidRequest(f"Unknown parameter: {param}.", param=param, code="unknown_parameter")
    if wrong["type"] == "union_tag_invalid":
        raise InvalidRequest(f"{param}.type: {wrong['ctx']['tag']} cannot be used here.", param=f"{param}.type")
    raise InvalidRequest(f"{param}: {_PLAIN.get(wrong['type']) or wrong['msg'].removeprefix('Value error, ')}.", param=param)


def _refuse_body() -> NoReturn:
    if len(request.get_data()) >= (request.max_content_length or math.inf):
        raise RequestEntityTooLarge  # it came in chunks, and was cut off instead of refused
    raise InvalidRequest("The request body must be a JSON object (Content-Type: application/json).", param="body")


def _requested(path: Path, *, is_missing: bool) -> Path:
    """Return those parts of a path that are in the request's body: pydantic also names which of a field's types it tried."""
    value = request.get_json(silent=True)
    if not isinstance(value, dict):
        return path
    kept: list[int | str] = []
    for part, following in zip(path, [*path[1:], None], strict=True):
        if isinstance(value, dict) and _is_kind(value, part, following):
            continue
        if part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int):
            kept.append(part)
            value = value[part]
    return (*kept, path[-1]) if is_missing else tuple(kept)


def _is_kind(value: dict[str, Any], part: int | str, following: int | str | None) -> bool:
    """Return whether a part of a path is the kind that was tried, which may also be the name of a field, and no field."""
    if following is None or part != value.get("type"):
        return False
    field = value.get(str(part))
    return following == part or (following in value and not (isinstance(field, dict) and following in field))


def _dotted(path: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in path) or "body"


def _count(value: Any) -> int:
    """Count values and keys, but not much further than is allowed."""
    total, waiting = 0, [value]
    while waiting and total <= MAX_VALUES:
        part = waiting.pop()
        total += 1
        if isinstance(part, dict):
            waiting.extend(part.values())
            total += len(part)
        elif isinstance(part, list):
            waiting.extend(part)
    return total


def _check(value: Any, path: Path) -> None:
    if len(path) > MAX_DEPTH:
        raise InvalidRequest(f"Values may be nested {MAX_DEPTH} deep.", param=_dotted(path[:1]))
    if isinstance(value, str):
        if not _is_storable(value):
            raise InvalidRequest("Text must be valid Unicode without NUL characters.", param=_dotted(path))
    elif isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise InvalidRequest("An integer must fit into 64 bits.", param=_dotted(path))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRequest("A number must be finite.", param=_dotted(path))
    elif isinstance(value, dict):
        for key, part in value.items():
            _check(key, (*path, "key"))
            _check(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _check(part, (*path, index))


def _is_storable(text: str) -> bool:
    """Return whether a text is without NUL characters, which PostgreSQL cannot store, and lone surrogates, which UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return NUL not in text
