"""What a request says: its body, its idempotency key or which retry it is, and from where on to stream."""

import math
from typing import TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from api.dialects.openai.sse import FROM_THE_START
from api.http import bodies
from api.http.params import MAX_SEQ_DIGITS
from api.http.request_digest import request_digest
from api.jobs import idempotency
from api.jobs.idempotency import Key, Retry
from shared.digits import digits
from shared.errors import InvalidRequest

DEFAULT_PATIENCE_SECONDS = 600.0
"""How long the SDK waits for an answer where it does not say."""
MAX_RETRY_DIGITS = 3

Model = TypeVar("Model", bound=BaseModel)


def read_body(model: type[Model]) -> Model:
    """Read the request's body.

    Raises:
        InvalidRequest: it is no JSON object, or a field is wrong; it is named.
    """
    try:
        return model.model_validate(request.get_json(silent=True), context=bodies.NULL_IS_ABSENT)
    except ValidationError as error:
        bodies.refuse(error)


def idempotency_key() -> Key | None:
    """Read by which key the request is known when it comes again; None where the client sends nothing to know it by.

    Raises:
        InvalidRequest: its `Idempotency-Key` is empty or too long.
    """
    return idempotency.key_of(request.headers.get("Idempotency-Key"), request_digest, _retry())


def _retry() -> Retry | None:
    """Read which try of a request this is: the official SDKs say so, and send no idempotency key."""
    count = digits(request.headers.get("X-Stainless-Retry-Count", ""), MAX_RETRY_DIGITS)
    return None if count is None else Retry(count, _patience_seconds())


def _patience_seconds() -> float:
    """Read how long the SDK waits for an answer: Python's sends the one header, Node's the other."""
    text = request.headers.get("X-Stainless-Read-Timeout") or request.headers.get("X-Stainless-Timeout") or ""
    try:
        seconds = float(text)
    except ValueError:
        return DEFAULT_PATIENCE_SECONDS
    return seconds if math.isfinite(seconds) and seconds > 0 else DEFAULT_PATIENCE_SECONDS


def starting_after() -> int:
    """Read after which sequence number to stream; -1, or nothing, is from the start.

    Raises:
        InvalidRequest: it is no such number.
    """
    text = request.args.get("starting_after") or str(FROM_THE_START)
    number = digits(text.removeprefix("-"), MAX_SEQ_DIGITS)
    if number is None or int(text) < FROM_THE_START:
        raise InvalidRequest("starting_after is the sequence_number of an event: 0, 1, 2, …", param="starting_after")
    return int(text)
