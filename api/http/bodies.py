"""What requests may say: the base of all request models, and how a refusal names the field."""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from flask import request
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from werkzeug.exceptions import RequestEntityTooLarge

from shared.errors import InvalidRequest

MAX_DEPTH = 100
"""How deep values may be nested: deeper than any sensible JSON Schema, and not too deep for what stores and sends them."""
MAX_VALUES = 50_000
"""How many values a request may hold: each is looked at several times, and nothing else happens in the process meanwhile."""
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""Beyond these a number is no integer to most readers of JSON."""

NULL_IS_NOTHING = {"null": "nothing"}
"""The context of a validation (pydantic's `context`) in which a null is as good as nothing, also under a name that is unknown."""

Path = tuple[int | str, ...]


class Body(BaseModel):
    """A request: unknown fields, other types, infinities and text that no database can store are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _passable(cls, value: Any, info: ValidationInfo) -> Any:
        if info.mode == "json":  # flask-openapi takes a JSON string for JSON once more
            _refuse_body()
        if _count(value) > MAX_VALUES:
            raise InvalidRequest(f"A request may hold {MAX_VALUES} values.", param="body")
        _check(value, ())
        return cls._told(value) if info.context is NULL_IS_NOTHING else value

    @classmethod
    def _told(cls, value: Any) -> Any:
        """Leave out what is null, but where null is what the field would be anyway, or is a value of its own."""
        if not isinstance(value, dict):
            return value
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        kept = {name for name, field in fields.items() if field.is_required() or field.default is None}
        return {name: part for name, part in value.items() if part is not None or name in kept}


class Query(Body):
    """A query string, which has nothing but text to say numbers with."""

    model_config = ConfigDict(strict=False)


def refuse(error: ValidationError) -> NoReturn:
    """Turn what is wrong into our error, naming the field: of several readings of it, the one that got furthest counts."""
    wrong = max(error.errors(include_url=False, include_input=False, include_context=False), key=lambda each: len(each["loc"]))
    if not wrong["loc"]:
        _refuse_body()
    param = _dotted(_requested(wrong["loc"], is_missing=wrong["type"] == "missing"))
    if wrong["type"] == "extra_forbidden":
        raise InvalidRequest(f"Unknown parameter: {param}.", param=param, code="unknown_parameter")
    raise InvalidRequest(f"{param}: {wrong['msg'].removeprefix('Value error, ')}.", param=param)


def _refuse_body() -> NoReturn:
    if len(request.get_data()) >= (request.max_content_length or math.inf):
        raise RequestEntityTooLarge  # it came in chunks, and was cut off instead of refused
    raise InvalidRequest("The request body must be a JSON object (Content-Type: application/json).", param="body")


def _requested(path: Path, *, is_missing: bool) -> Path:
    """Keep of a path what the request's body says itself: pydantic also names which reading of a field it tried."""
    here = request.get_json(silent=True)
    if not isinstance(here, dict):
        return path
    kept: list[int | str] = []
    for part in path:
        if part in here if isinstance(here, dict) else isinstance(here, list) and isinstance(part, int):
            kept.append(part)
            here = here[part]
    return (*kept, path[-1]) if is_missing else tuple(kept)


def _dotted(path: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in path) or "body"


def _count(value: Any) -> int:
    """Count values and keys, but not much further than is allowed."""
    total, waiting = 0, [value]
    while waiting and total <= MAX_VALUES:
        here = waiting.pop()
        total += 1
        if isinstance(here, dict):
            waiting.extend(here.values())
            total += len(here)
        elif isinstance(here, list):
            waiting.extend(here)
    return total


def _check(value: Any, path: Path) -> None:
    """Refuse what a database or a provider could not take, wherever it hides."""
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
    """Whether there is no NUL (PostgreSQL has no room for it) and no lone surrogate (UTF-8 has none) in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
