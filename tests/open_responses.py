"""The Open Responses specification as a judge of responses and events: openresponses-types is made from its OpenAPI file."""

from enum import StrEnum
from typing import Any, get_args

import openresponses_types as types
from openresponses_types import ResponseResource
from pydantic import BaseModel

_NAMES = [name for name in dir(types) if name.endswith("StreamingEvent")]


def _told_type(event: type[BaseModel]) -> str:
    """Tell which type of event a class describes: its field's type has one word."""
    word = event.model_fields["type"].annotation
    if isinstance(word, type) and issubclass(word, StrEnum):
        return next(iter(word)).value
    return str(get_args(word)[0])


EVENTS: dict[str, type[BaseModel]] = {_told_type(event): event for event in (getattr(types, name) for name in _NAMES)}

OTHERWISE = {
    "response.cancelled": "it has no word for the end of a stream by a cancel",
    "response.reasoning_text.delta": "it calls thoughts otherwise than OpenAI does",
    "response.reasoning_text.done": "it calls thoughts otherwise than OpenAI does",
    "error": "its error has an `error` field, for which OpenAI's SDK would raise before the response has failed",
}
"""Where it differs from OpenAI's wire, which is the one that we speak."""


def check_response(response: dict[str, Any]) -> None:
    """Fail for a response that the specification does not allow."""
    ResponseResource.model_validate(response)


def check_event(event: dict[str, Any]) -> None:
    """Fail for an event that the specification does not know or not allow, but where OpenAI's wire is another."""
    if event["type"] not in OTHERWISE:
        EVENTS[event["type"]].model_validate(event)
