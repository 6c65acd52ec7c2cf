"""The answer of a job whose text is an object of the provider, as JSON."""

import orjson
from flask import Response

from api.dialects.openai import ids
from api.dialects.openai.errors import ProviderFailed
from shared.messages.text import text_of
from shared.models import Job, Status


def passed_on(job: Job) -> Response:
    """Answer with the object, as it is.

    Raises:
        ProviderFailed: the job, which is over, has none that is whole.
    """
    if job.status is not Status.COMPLETED:
        raise ProviderFailed(job)
    return ids.with_job_id(Response(orjson.dumps(orjson.loads(text_of(job.message))), content_type="application/json"), job)
