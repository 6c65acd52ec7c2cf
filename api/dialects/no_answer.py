"""The error that dialects answer with which wait for an answer, where a job ended without one."""

from http import HTTPStatus

from shared.errors import ChatrelayError
from shared.models import Job
from shared.models.error_codes import JobErrorCode

STATUSES: dict[str, HTTPStatus] = {
    JobErrorCode.CONTENT_FLAGGED: HTTPStatus.BAD_REQUEST,
    JobErrorCode.AGENT_NONE: HTTPStatus.SERVICE_UNAVAILABLE,
    JobErrorCode.DEADLINE_EXCEEDED: HTTPStatus.SERVICE_UNAVAILABLE,
    JobErrorCode.WORKER_LOST: HTTPStatus.SERVICE_UNAVAILABLE,
    JobErrorCode.DRAINED: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status for a job's error code; the provider's own 429 is 429, all else 502."""


class NoAnswer(ChatrelayError):
    """The job ended without an answer."""

    def __init__(self, job: Job) -> None:
        """Keep the job's error and the status that fits it."""
        error = job.error or {"code": job.status.value, "message": f"The question was {job.status.value}."}
        super().__init__(error["message"], code=error["code"])
        is_limited = error.get("provider_status") == HTTPStatus.TOO_MANY_REQUESTS
        self.status = HTTPStatus.TOO_MANY_REQUESTS if is_limited else STATUSES.get(error["code"], HTTPStatus.BAD_GATEWAY)


def answered(job: Job) -> Job:
    """Return a job that has an answer.

    Raises:
        NoAnswer: it has none.
    """
    if not job.status.has_answer:
        raise NoAnswer(job)
    return job
