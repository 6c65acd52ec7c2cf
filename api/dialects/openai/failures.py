"""What is answered when the provider of an answer has failed."""

from shared.errors import ChatrelayError
from shared.models import Job

BAD_GATEWAY = 502
FLAGGED = "content_flagged"
STATUSES = {FLAGGED: 400, "agent_none": 503, "cancelled": 409}
"""What the ends of a job without an answer are here; all else is 502."""


class ProviderFailed(ChatrelayError):
    """The answer could not be had."""

    type = "provider_error"

    def __init__(self, job: Job) -> None:
        """Say why, with the provider's own code."""
        error = job.error or {"code": job.status.value, "message": f"The answer was {job.status.value}."}
        super().__init__(error["message"], code=error["code"])
        self.job_id = job.id
        self.status = STATUSES.get(error["code"], BAD_GATEWAY)
