"""Fields of a request that we do not know: passed on to the provider, ignored and named, or refused: `UNKNOWN_PARAMETERS`."""

from collections.abc import Iterator

from flask import Response, g
from pydantic import BaseModel, ConfigDict

from api.context import context
from api.http.bodies import Body
from shared.errors import InvalidRequest

IGNORED_HEADER = "x-chatrelay-ignored"
MAX_HEADER_CHARS = 1_000

Found = tuple[BaseModel, str, str]
"""Where an unknown field is, its name, and its path in the request."""


class Open(Body):
    """A part of a request that may have fields which we do not know."""

    model_config = ConfigDict(extra="allow")


class WithoutEffect(Open):
    """A part that has no effect as a whole; nobody looks for unknown fields in it."""


def judge(body: BaseModel, *, may_forward: bool) -> None:
    """Do with a request's unknown fields what the operator wants; those that are ignored are taken out of it.

    Args:
        body: the request.
        may_forward: whether the provider is asked in the request's own words, so that it may understand what we do not.

    Raises:
        InvalidRequest: there are some, and they are to be refused.
    """
    policy = context().config.unknown_parameters
    if policy == "forward" and may_forward:
        return
    for model, name, path in list(_unknown(body, "")):
        if policy == "refuse":
            raise InvalidRequest(f"Unknown parameter: {path}.", param=path, code="unknown_parameter")
        (model.model_extra or {}).pop(name, None)
        ignore(path)


def ignore(path: str) -> None:
    """Note that a part of the request has no effect; the response names it."""
    g.setdefault("ignored", []).append(path)


def leave_out(path: str, kind: str) -> None:
    """Note that a part of this kind has no effect.

    Raises:
        InvalidRequest: the operator wants it refused.
    """
    if context().config.unknown_parameters == "refuse":
        raise InvalidRequest(f"{path}.type: {kind} cannot be used here.", param=f"{path}.type")
    ignore(f"{path} ({kind})")


def add_header(response: Response) -> Response:
    """Name on a response what of its request was ignored."""
    if paths := g.get("ignored"):
        listed = ", ".join(path.encode("ascii", "backslashreplace").decode() for path in paths)
        response.headers[IGNORED_HEADER] = "".join(filter(str.isprintable, listed))[:MAX_HEADER_CHARS]
    return response


def _unknown(value: object, path: str) -> Iterator[Found]:
    if isinstance(value, BaseModel) and not isinstance(value, WithoutEffect):
        yield from ((value, name, f"{path}{name}") for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _unknown(part, f"{path}{place}.")
