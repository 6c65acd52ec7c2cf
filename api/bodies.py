"""What requests may say: the base of all request models, and how a refusal names the field."""

from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from shared.errors import InvalidRequest


class Body(BaseModel):
    """A request: unknown fields, infinities and text that no database can store are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        if (path := _unstorable(value, ())) is not None:
            raise InvalidRequest("Text must be valid Unicode without NUL characters.", param=_dotted(path))
        return value


def refuse(error: ValidationError) -> NoReturn:
    """Turn the first thing that is wrong into our error, naming the field."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if not first["loc"]:
        raise InvalidRequest("The request body must be a JSON object (Content-Type: application/json).", param="body")
    param = _dotted(first["loc"])
    what = f"Unknown parameter: {param}" if first["type"] == "extra_forbidden" else f"{param}: {first['msg']}"
    raise InvalidRequest(f"{what}.", param=param, code="unknown_parameter" if first["type"] == "extra_forbidden" else None)


def _dotted(path: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in path) or "body"


def _unstorable(value: Any, path: tuple[int | str, ...]) -> tuple[int | str, ...] | None:
    """Find a NUL (PostgreSQL has no room for it) or a lone surrogate (UTF-8 has none)."""
    if isinstance(value, str):
        return path if "\x00" in value or (not value.isascii() and _has_surrogate(value)) else None
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        bad = _unstorable(part, (*path, key)) or (_unstorable(key, (*path, "key")) if isinstance(key, str) else None)
        if bad is not None:
            return bad
    return None


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
