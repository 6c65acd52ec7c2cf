"""The Open Responses specification as a check of responses and events: openresponses-types is made from its OpenAPI file."""

from enum import StrEnum
from typing import Any, get_args

import openresponses_types as types
from openresponses_types import ResponseResource
from pydantic import BaseModel

_NAMES = [name for name in dir(types) if name.endswith("StreamingEvent")]


def _event_type(event: type[BaseModel]) -> str:
    """Return which type of event a class describes: its field has one value."""
    word = event.model_fields["type"].annotation
    if isinstance(word, type) and issubclass(word, StrEnum):
        return next(iter(word)).value
    return str(get_args(word)[0])


EVENTS: dict[str, type[BaseModel]] = {_event_type(event): event for event in (getattr(types, name) for name in _NAMES)}

OTHERWISE = {
    "response.cancelled": "it has no event for the end of a stream by a cancel",
    "response.reasoning_text.delta": "it names thoughts otherwise than OpenAI",
    "response.reasoning_text.done": "it names thoughts otherwise than OpenAI",
    "error": "its error has an `error` field, for which OpenAI's SDK would raise before the response has failed",
}
"""Where it differs from OpenAI's wire, which is ours."""


def check_response(response: dict[str, Any]) -> None:
    """Fail for a response that the specification does not allow."""
    ResponseResource.model_validate(response)


def check_event(event: dict[str, Any]) -> None:
    """Fail for an event that the specification does not know or not allow, but where OpenAI's wire is another."""
    if event["type"] not in OTHERWISE:
        EVENTS[event["type"]].model_validate(event)
