"""Ids as OpenAI's API has them: which of the caller's jobs an id means, and which job an answer is about."""

from flask import Response

from api.context import context
from api.guards import principal
from shared import ids
from shared.errors import NotFound
from shared.models import Job, ObjectType

JOB_HEADER = "x-chatrelay-job-id"
PREFIXES = {ObjectType.CHAT_COMPLETION: ids.CHAT_COMPLETION, ObjectType.RESPONSE: ids.RESPONSE}


def find(object_type: ObjectType, object_id: str, *, param: str) -> Job:
    """Return the caller's job by its id as a chat completion or a response.

    Raises:
        NotFound: there is none, or it is somebody else's, or it is of another object type; all answer alike.
    """
    job_id = ids.job_id(object_id, PREFIXES[object_type])
    if job_id is not None:
        try:
            job = context().jobs.find(principal().user_id, job_id)
        except NotFound:
            pass
        else:
            if job.wire is object_type:
                return job
    raise unknown(object_type, object_id, param=param)


def unknown(object_type: ObjectType, object_id: str, *, param: str) -> NotFound:
    """Return the error for an id under which there is nothing of the caller's."""
    return NotFound(f"No {object_type} was found under the id '{object_id}'.", param=param)


def with_job_id(response: Response, job: Job) -> Response:
    """Name the job in an answer's headers, so that it can be found again through every API."""
    response.headers[JOB_HEADER] = job.id
    return response
