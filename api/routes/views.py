"""How a job looks to its user."""

from datetime import datetime

from api.context import context
from api.schemas.jobs import JobError, JobView, Timings, Usage
from shared.messages.answer import assemble
from shared.messages.text import text_of
from shared.models import Job
from shared.timestamps import utc


def detailed(job: Job) -> JobView:
    """Return all of a job; of a running one also its text so far."""
    message = job.message
    if message is None and job.attempt:
        message = assemble(context().job_logs.partial(job.id))
    return _view(job, message)


def listed(job: Job) -> JobView:
    """Return a job as one of many: a running one's text is not looked up."""
    return _view(job, job.message)


def _view(job: Job, message: dict[str, object] | None) -> JobView:
    return JobView(
        id=job.id,
        request_id=job.id,
        status=job.status,
        conversation_id=job.conversation_id,
        model=job.model,
        attempt=job.attempt,
        created_at=utc(job.created_ms),
        started_at=_maybe(job.started_ms),
        first_token_at=_maybe(job.first_token_ms),
        finished_at=_maybe(job.finished_ms),
        timings=Timings(
            queued_ms=_between(job.created_ms, job.started_ms),
            first_token_ms=_between(job.created_ms, job.first_token_ms),
            total_ms=_between(job.created_ms, job.finished_ms),
        ),
        text=text_of(message),
        message=message,
        finish_reason=job.finish_reason,
        usage=Usage.model_validate(job.usage) if job.usage else None,
        error=JobError.model_validate(job.error) if job.error and job.status.is_terminal else None,
        metadata=job.labels,
    )


def _maybe(ms: int | None) -> datetime | None:
    return None if ms is None else utc(ms)


def _between(start_ms: int, end_ms: int | None) -> int | None:
    return None if end_ms is None else end_ms - start_ms
