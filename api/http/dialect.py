"""A dialect as a value: the API of another project, as far as errors, CORS and the routing table need to know it."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, Response

from shared.errors import ChatrelayError
from shared.json_types import JsonObject


def _no_fields(_path: str, _error: ChatrelayError) -> JsonObject:
    return {}


@dataclass(frozen=True)
class Dialect:
    """One dialect.

    Attributes:
        name: the dialect's name, which is its package's.
        blueprint: its routes.
        owns: whether a path belongs to it.
        refusal: writes an error in its envelope and with its status.
        answers_preflight: whether it answers CORS preflights itself, at all of its paths.
        fields_in_our_refusals: the fields that its clients look for, besides our envelope, in an error of our own API at a path
            that they use too.
    """

    name: str
    blueprint: Blueprint
    owns: Callable[[str], bool]
    refusal: Callable[[ChatrelayError], Response]
    answers_preflight: bool = False
    fields_in_our_refusals: Callable[[str, ChatrelayError], JsonObject] = _no_fields
