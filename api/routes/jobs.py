"""`/jobs`: submit, look, list, cancel, delete."""

import re
from http import HTTPStatus
from typing import Any

from flask import Response, jsonify, url_for
from flask_openapi import APIBlueprint, Tag
from pydantic import Field

from api.context import context
from api.guards import principal, require_user
from api.http.bodies import Described
from api.http.request_digest import request_digest
from api.jobs import idempotency
from api.jobs.submission import Place, Submission
from api.routes import views
from api.schemas.answers import ErrorAnswer
from api.schemas.jobs import JobList, JobPath, JobRequest, JobsQuery, JobView, ShowQuery, Submitted
from shared.models import Job

MAX_WAIT_SECONDS = 60

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})")

blueprint = APIBlueprint(
    "jobs",
    __name__,
    url_prefix="/jobs",
    abp_tags=[Tag(name="Jobs")],
    abp_security=[{"bearer": []}],
    abp_responses={400: ErrorAnswer, 401: ErrorAnswer, 404: ErrorAnswer, 503: ErrorAnswer},
)
blueprint.before_request(require_user)


class SubmitHeaders(Described):
    """What a submission may say besides its body."""

    idempotency_key: str | None = Field(
        None, alias="Idempotency-Key", description="The same key and body is the same job, for a day."
    )


class ShowHeaders(Described):
    """What a look at a job may say."""

    prefer: str | None = Field(None, alias="Prefer", description="wait=N: answer when the job is over, within N seconds (≤ 60).")


@blueprint.post("", responses={202: Submitted, 409: ErrorAnswer, 413: ErrorAnswer, 429: ErrorAnswer})
def submit(header: SubmitHeaders, body: JobRequest) -> tuple[Response, int]:
    """Submit a chat job. It is saved when this answers, and from then on it will end."""
    key = idempotency.key_of(header.idempotency_key, request_digest)
    job = context().submitter.submit(principal().user_id, _submission(body), key)
    return jsonify(_submitted(job).model_dump()), HTTPStatus.ACCEPTED


def _submission(body: JobRequest) -> Submission:
    messages = None if body.messages is None else [message.model_dump(exclude_none=True) for message in body.messages]
    return Submission(
        turn=() if body.message is None else [{"role": "user", "content": body.message}],
        messages=messages,
        place=Place(body.conversation_id),
        model=body.model,
        system=body.system,
        metadata=body.metadata,
        on_interrupt=body.on_interrupt,
        parameters=body.parameters(),
    )


def _submitted(job: Job) -> Submitted:
    """Return where to watch a job that was just accepted."""
    ticket = context().authenticator.ticket(job.user_id, job.id)
    return Submitted(
        id=job.id,
        request_id=job.id,
        status=job.status,
        conversation_id=job.conversation_id,
        status_url=url_for("jobs.show", job_id=job.id, _external=True),
        stream_url=url_for("events.stream", job_id=job.id, ticket=ticket, _external=True),
    )


@blueprint.get("", responses={200: JobList})
def index(query: JobsQuery) -> Response:
    """List your jobs, newest first."""
    user_id = principal().user_id
    after = None if query.after is None else context().jobs.find(user_id, query.after, param="after")
    jobs, has_more = context().job_lists.newest_first(user_id, after=after, limit=query.limit, status=query.status)
    ids = [job.id for job in jobs]
    first_id, last_id = (ids[0], ids[-1]) if ids else (None, None)
    listed = JobList(data=[views.listed(job) for job in jobs], has_more=has_more, first_id=first_id, last_id=last_id)
    return jsonify(listed.model_dump(mode="json"))


@blueprint.get("/<job_id>", responses={200: JobView})
def show(path: JobPath, query: ShowQuery, header: ShowHeaders) -> Response:
    """Look at a job, or wait for its end (`Prefer: wait=30`), or for its next status (`?wait_for=change`)."""
    seconds = _wait_seconds(header.prefer)
    job = context().jobs.find(principal().user_id, path.job_id)
    job = context().jobs.wait(job, seconds, for_change=query.wait_for == "change")
    response = _job(views.detailed(job))
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


@blueprint.post("/<job_id>/cancel", responses={200: JobView})
def cancel(path: JobPath) -> Response:
    """Stop a job: its provider is hung up on; text and usage so far are kept. Again and again is the same."""
    return _job(views.detailed(context().jobs.cancel(principal().user_id, path.job_id)))


@blueprint.delete("/<job_id>", responses={204: None})
def remove(path: JobPath) -> tuple[str, int]:
    """Delete a job and its log; a running one is cancelled first."""
    context().jobs.remove(principal().user_id, path.job_id)
    return "", HTTPStatus.NO_CONTENT


def _job(view: JobView) -> Response:
    shown: dict[str, Any] = view.model_dump(mode="json")
    return jsonify(shown)


def _wait_seconds(prefer: str | None) -> int:
    """Read `Prefer: wait=N` (RFC 7240)."""
    asked = _WAIT.search(prefer or "")
    return min(int(asked[1]), MAX_WAIT_SECONDS) if asked else 0
