"""Errors in OpenAI's envelope, so that the SDK raises what its users expect; and the failure of a provider as an error."""

import math
from http import HTTPStatus

from flask import Response, jsonify

from api.dialects.openai.ids import JOB_HEADER
from api.webhooks.deliveries import WebhookNotReached
from shared.errors import ChatrelayError, Unauthorized
from shared.json_types import JsonObject
from shared.models import Job, Status
from shared.models.error_codes import JobErrorCode

STATUSES: dict[str, HTTPStatus] = {
    JobErrorCode.CONTENT_FLAGGED: HTTPStatus.BAD_REQUEST,
    JobErrorCode.AGENT_NONE: HTTPStatus.SERVICE_UNAVAILABLE,
    Status.CANCELLED: HTTPStatus.CONFLICT,
}
"""HTTP statuses for jobs that ended without an answer, by their error's code."""
PASSED_ON = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Statuses of a provider that are about what the client sent, or how often: the client's own. All others are 502."""


class ProviderFailed(ChatrelayError):
    """There is no answer."""

    type = "provider_error"

    def __init__(self, job: Job) -> None:
        """Take message and code from the job's error, which has the provider's own."""
        error = job_error(job)
        super().__init__(error["message"], code=error["code"])
        self.job_id = job.id
        self.retry_after_seconds: float | None = error.get("retry_after_seconds")
        self.status = STATUSES.get(error["code"]) or _passed_on(error)


def _passed_on(error: JsonObject) -> int:
    status: int | None = error.get("provider_status")
    return status if status in PASSED_ON else HTTPStatus.BAD_GATEWAY


def job_error(job: Job) -> JsonObject:
    """Return why a job has no answer; of one that has no error, what its status says."""
    return job.error or {"code": job.status.value, "message": f"The answer was {job.status.value}."}


def refusal(error: ChatrelayError) -> Response:
    """Write an error in OpenAI's envelope."""
    code = "invalid_api_key" if isinstance(error, Unauthorized) else error.reason
    response = jsonify({"error": {"message": error.message, "type": error.type, "param": error.param, "code": code}})
    response.status_code = error.status
    if isinstance(error, ProviderFailed | WebhookNotReached):
        response.headers["x-should-retry"] = "false"  # it was tried, as often as that makes sense
    if isinstance(error, ProviderFailed):
        response.headers[JOB_HEADER] = error.job_id
        if error.retry_after_seconds is not None:
            response.headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    return response
