"""Read and write JSON as Go's `encoding/json` does, for the clients and agents of a program that is written in Go.

Reading takes names in any case, ignores unknown ones, takes null as if the name were not there, and no other type than the one that
is wanted. Writing is compact, and escapes the characters that mean something in HTML.
"""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from api.http.nul import NUL

KINDS: dict[type, str] = {dict: "object", list: "array", bool: "bool", int: "number", float: "number", str: "string"}
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
BLANKS = " \t\r\n"
REPLACEMENT = "\ufffd"


def strings(text: str | bytes, names: Sequence[str], *, whole: bool) -> dict[str, str]:
    """Read an object of strings; a name that is missing is an empty string.

    Args:
        text: the JSON, in UTF-8.
        names: the names that count.
        whole: whether text behind the object is an error.

    Raises:
        ValueError: there is no JSON, no object, or no string where there should be one.
    """
    value = _value(text, whole=whole)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ValueError(f"json: cannot unmarshal {KINDS[type(value)]} into an object")
    known = {name.lower(): name for name in names}
    found = dict.fromkeys(names, "")
    for key, part in value.items():
        name = known.get(key.lower())
        if name is None or part is None:
            continue
        if not isinstance(part, str):
            raise ValueError(f"json: cannot unmarshal {KINDS[type(part)]} into field {name} of type string")
        found[name] = storable(part)
    return found


def storable(text: str) -> str:
    """Return a text with the replacement character for what cannot be stored: halves of characters in UTF-8, NUL in PostgreSQL."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace(NUL, REPLACEMENT)


def written(value: Any) -> str:
    """Return a value as JSON text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escape in ESCAPED.items():
        text = text.replace(character, escape)
    return text


def _value(text: str | bytes, *, whole: bool) -> Any:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    start = len(text) - len(text.lstrip(BLANKS))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError("json: nested too deeply") from None
    if whole and text[end:].strip(BLANKS):
        raise ValueError("json: invalid character after top-level value")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"json: invalid value {constant}")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
