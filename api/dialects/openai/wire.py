"""How OpenAI words things: ids, errors, headers, events, and what a request may say besides its body.

The facts are those of the official SDK (openai-python 3.52) and of openai/openai-openapi 2.3.0.
"""

import math
import time
from typing import Any, TypeVar

import orjson
from flask import Blueprint, Response, g, jsonify, request
from pydantic import BaseModel, ValidationError

from api.context import context
from api.dialects.openai.failures import ProviderFailed
from api.guards import principal, require_user
from api.http import bodies
from api.jobs.idempotency import Retry
from api.webhooks.deliveries import WebhookNotReached
from shared.errors import ChatrelayError, InvalidRequest, NotFound, Unauthorized
from shared.models import Job, ObjectType

PATH = "/v1"
VERSION = "2020-10-01"
"""The one version that OpenAI has ever told in `openai-version`."""
DEFAULT_PATIENCE_SECONDS = 600.0
"""How long the SDK waits for an answer where it does not say."""

MAX_DIGITS = 18

HEARTBEAT = b": keep-alive\n"
"""A comment with a single newline: after a blank line the SDK would take it for an empty event (openai-python#2722)."""
DONE = b"data: [DONE]\n\n"
CUT = {
    "message": "The stream was cut off, and its answer is made all the same: come back with the last sequence_number.",
    "type": "server_error",
    "param": None,
    "code": "stream_cut",
}
"""What a stream ends with when its process stops, or Redis is away for long. The SDK raises it; otherwise it would take what it has
got for the whole. It is no event of the answer, and has no number."""
GONE = {"message": "This was deleted.", "type": "invalid_request_error", "param": None, "code": "not_found"}

JOB_HEADER = "x-chatrelay-job-id"
PREFIXES = {ObjectType.CHAT_COMPLETION: "chatcmpl-", ObjectType.RESPONSE: "resp_"}
_JOB_PREFIX = "job_"

Model = TypeVar("Model", bound=BaseModel)

blueprint = Blueprint("openai", __name__, url_prefix=PATH)
blueprint.before_request(require_user)


def owns(path: str) -> bool:
    """Tell whether this wire is spoken at a path."""
    return path == PATH or path.startswith(PATH + "/")


def refusal(error: ChatrelayError) -> Response:
    """Say what went wrong, so that the SDK raises what its users expect."""
    code = "invalid_api_key" if isinstance(error, Unauthorized) else error.reason
    response = jsonify({"error": {"message": error.message, "type": error.type, "param": error.param, "code": code}})
    response.status_code = error.status
    if isinstance(error, ProviderFailed | WebhookNotReached):
        response.headers["x-should-retry"] = "false"  # it was tried, as often as that makes sense
    if isinstance(error, ProviderFailed):
        response.headers[JOB_HEADER] = error.job_id
    return response


@blueprint.after_request
def _mark(response: Response) -> Response:
    response.headers["openai-version"] = VERSION
    response.headers["openai-processing-ms"] = str(math.ceil((time.monotonic() - g.begun) * 1000))
    if (standing := g.get("rate_limit")) is not None:
        limit, remaining, reset_seconds = standing
        told = {"limit": limit, "remaining": remaining, "reset": f"{reset_seconds}s"}
        response.headers.update({f"x-ratelimit-{name}-requests": str(value) for name, value in told.items()})
    return response


def read(model: type[Model]) -> Model:
    """Read the request's body.

    Raises:
        InvalidRequest: it is no JSON object, or a field is wrong; it is named.
    """
    try:
        return model.model_validate(request.get_json(silent=True), context=bodies.NULL_IS_ABSENT)
    except ValidationError as error:
        bodies.refuse(error)


def retry() -> Retry | None:
    """Read which try of a request this is: the official SDKs tell, and send no idempotency key."""
    count = request.headers.get("X-Stainless-Retry-Count", "")
    if not (count.isascii() and count.isdecimal() and len(count) <= 3):
        return None
    return Retry(int(count), _patience_seconds())


def _patience_seconds() -> float:
    """Read how long the SDK waits for an answer: Python's tells the one name, Node's the other."""
    told = request.headers.get("X-Stainless-Read-Timeout") or request.headers.get("X-Stainless-Timeout") or ""
    try:
        seconds = float(told)
    except ValueError:
        return DEFAULT_PATIENCE_SECONDS
    return seconds if math.isfinite(seconds) and seconds > 0 else DEFAULT_PATIENCE_SECONDS


def starting_after() -> int:
    """Read after which number of a stream to go on; -1, or nothing, is from the start.

    Raises:
        InvalidRequest: it is no such number.
    """
    given = request.args.get("starting_after") or "-1"
    number = given.removeprefix("-")
    if not (number.isascii() and number.isdecimal() and len(number) <= MAX_DIGITS) or int(given) < -1:
        raise InvalidRequest("starting_after is the sequence_number of an event: 0, 1, 2, …", param="starting_after")
    return int(given)


def find(wire: ObjectType, public: str, *, param: str) -> Job:
    """Find the caller's job by its id on this wire.

    Raises:
        NotFound: there is none, or it is somebody else's, or it was asked in other words; all answer alike.
    """
    prefix = PREFIXES[wire]
    if public.startswith(prefix):
        try:
            job = context().jobs.find(principal().user_id, _JOB_PREFIX + public.removeprefix(prefix))
        except NotFound:
            pass
        else:
            if job.wire is wire:
                return job
    raise unknown(wire, public, param=param)


def unknown(wire: ObjectType, public: str, *, param: str) -> NotFound:
    """Say that there is nothing of the caller's under an id."""
    return NotFound(f"No {wire} was found under the id '{public}'.", param=param)


def marked(response: Response, job: Job) -> Response:
    """Say on an answer which job it is, so that it can be found again through every door."""
    response.headers[JOB_HEADER] = job.id
    return response


def chunk(fields: dict[str, Any]) -> bytes:
    """Write one event of a chat completion's stream: they have no names."""
    return b"data: %s\n\n" % orjson.dumps(fields)


def event(fields: dict[str, Any]) -> bytes:
    """Write one event of a response's stream; its name is the JSON's `type`."""
    return b"event: %s\ndata: %s\n\n" % (fields["type"].encode(), orjson.dumps(fields))
