"""Wait for a job's end, for those who want the answer whole."""

import time

from api.context import Context
from api.jobs import control
from api.streaming.following import wait_for_change
from shared.errors import Unavailable
from shared.models import Job

LOOK_SECONDS = 30.0
GRACE_SECONDS = 60.0
"""What an end may take beyond the job's deadline."""


def finished(context: Context, job: Job) -> Job:
    """Wait until a job is over. It goes on, and can be looked at later, if its caller has given up.

    Returns:
        the job as it ended.

    Raises:
        NotFound: it was deleted meanwhile.
        Unavailable: this process stops, or the job does not end long after its deadline.
    """
    until = time.monotonic() + context.config.job_deadline_seconds + GRACE_SECONDS
    while not job.status.is_terminal:
        if context.hub.is_closing or time.monotonic() > until:
            raise Unavailable(f"The answer is not there yet; look again at /jobs/{job.id}.")
        wait_for_change(context, job, LOOK_SECONDS)
        job = control.find(context, job.user_id, job.id)
    return job
