"""What dialects that wait for an answer say when there is none: the cause, and a status that fits it."""

from shared.errors import ChatrelayError
from shared.jobs.error_codes import JobErrorCode
from shared.models import Job

BAD_GATEWAY = 502
TOO_MANY_REQUESTS = 429
STATUSES: dict[str, int] = {
    JobErrorCode.CONTENT_FLAGGED: 400,
    JobErrorCode.AGENT_NONE: 503,
    JobErrorCode.DEADLINE_EXCEEDED: 503,
    JobErrorCode.WORKER_LOST: 503,
    JobErrorCode.DRAINED: 503,
}
"""What the failures of a job are; the provider's own 429 is 429, all else 502."""


class NotAnswered(ChatrelayError):
    """The answer could not be had."""

    def __init__(self, job: Job) -> None:
        """Say why."""
        error = job.error or {"code": job.status.value, "message": f"The question was {job.status.value}."}
        super().__init__(error["message"], code=error["code"])
        limited = error.get("provider_status") == TOO_MANY_REQUESTS
        self.status = TOO_MANY_REQUESTS if limited else STATUSES.get(error["code"], BAD_GATEWAY)
