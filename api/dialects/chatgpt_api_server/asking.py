"""`/api/ask`: a question for an agent, answered when the answer has come."""

import time
from http import HTTPStatus

from flask import Response, request

from api.context import context
from api.conversations import agent_answers
from api.dialects.chatgpt_api_server.blueprint import blueprint, json_response, text_response
from api.guards import credentials, principal, set_principal
from api.http import go_json
from api.jobs.submission import Place, Submission
from shared.agents.requests import AGENT_MODEL, ANSWER_FIELDS
from shared.errors import DatabaseUnavailable, NotFound, Unauthorized
from shared.messages.text import text_of
from shared.models import Job
from shared.models.error_codes import JobErrorCode

ASK_FIELDS = ("content", "conversation_id", "parent_id", "message_id")
AGENT_IDS = ("message_id", "parent_id")
"""Ids of the caller's choice that are passed on to the agent."""
DATABASE_AWAY_SECONDS = 60.0
"""For how long a database that is away is waited for, with an answer on its way."""
RETRY_SECONDS = 0.5

ERRORS: dict[str, tuple[HTTPStatus, str]] = {
    JobErrorCode.AGENT_NONE: (HTTPStatus.SERVICE_UNAVAILABLE, "No available clients"),
    JobErrorCode.AGENT_PING_FAILED: (HTTPStatus.SERVICE_UNAVAILABLE, "Ping failed"),
    JobErrorCode.AGENT_GONE: (HTTPStatus.INTERNAL_SERVER_ERROR, "Connection no longer exists"),
    JobErrorCode.AGENT_SEND_FAILED: (HTTPStatus.INTERNAL_SERVER_ERROR, "Failed to send request to the client"),
    JobErrorCode.AGENT_READ_FAILED: (HTTPStatus.INTERNAL_SERVER_ERROR, "Failed to read response from the client"),
    JobErrorCode.AGENT_WRONG_REPLY: (HTTPStatus.INTERNAL_SERVER_ERROR, "Failed to find response from the client"),
    JobErrorCode.AGENT_BAD_ANSWER: (HTTPStatus.INTERNAL_SERVER_ERROR, "Failed to convert response to ChatGptResponse"),
    JobErrorCode.CONTENT_FLAGGED: (HTTPStatus.BAD_REQUEST, "The content was flagged by moderation"),
}
"""How this dialect words a job's error codes. Others are answered with the job's own message."""
DETAILS = ("err", "response")
NO_CONVERSATION = "Conversation doesn't exists"


@blueprint.post("/api/ask")
def ask() -> Response:
    """Ask an agent, and wait for the answer."""
    if (refusal := _set_principal()) is not None:  # before the body is read: strangers may not make us read 20 MB
        return refusal
    try:
        fields = go_json.strings(request.get_data(), ASK_FIELDS, whole=False)
    except ValueError:
        return text_response(go_json.written({"error": "Invalid request"}), HTTPStatus.BAD_REQUEST)
    try:
        job = context().submitter.submit(principal().user_id, _submission(fields))
    except NotFound:
        return json_response({"error": NO_CONVERSATION}, HTTPStatus.INTERNAL_SERVER_ERROR)
    return wait_for_answer(job)


def _set_principal() -> Response | None:
    """Find out who is calling; return a refusal if they may not ask."""
    token = credentials()
    if token is None:
        return json_response({"error": "API key not provided"}, HTTPStatus.UNAUTHORIZED)
    try:
        set_principal(context().authenticator.by_token(token))
    except Unauthorized:
        return json_response({"error": "Invalid API key"}, HTTPStatus.UNAUTHORIZED)
    except DatabaseUnavailable:
        return json_response({"error": "Failed to verify API key"}, HTTPStatus.INTERNAL_SERVER_ERROR)
    return None


def _submission(fields: dict[str, str]) -> Submission:
    conversation_id = fields["conversation_id"] or None
    return Submission(
        turn=[{"role": "user", "content": fields["content"]}],
        place=Place(conversation_id, _parent_id(conversation_id, fields["parent_id"]) if conversation_id else None),
        agent={name: fields[name] for name in AGENT_IDS if fields[name]},
        model=AGENT_MODEL,
    )


def _parent_id(conversation_id: str, response_id: str) -> str | None:
    """Return the id of the answer that an agent calls so, which the question then follows; None: it follows the last one."""
    conversation = context().conversations.find(principal().user_id, conversation_id)
    if conversation is None or not response_id:
        return None
    return agent_answers.find_answer_id(context().database, conversation, response_id)


def wait_for_answer(job: Job) -> Response:
    """Wait for a job's end, and answer it. A database that is away for a moment costs no answer that exists, or is on its way."""
    until = time.monotonic() + DATABASE_AWAY_SECONDS
    while True:
        try:
            return _response(context().jobs.wait_for_end(job))
        except NotFound:  # it was deleted meanwhile, maybe with its conversation
            return json_response({"error": NO_CONVERSATION}, HTTPStatus.INTERNAL_SERVER_ERROR)
        except DatabaseUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(RETRY_SECONDS)


def _response(job: Job) -> Response:
    if not job.status.has_answer:
        return _failure(job)
    fields = {**agent_answers.origin(context().database, job), "content": text_of(job.message)}
    if job.conversation_id and fields.get("conversation_id"):
        fields["conversation_id"] = _name(job.user_id, job.conversation_id, fields["conversation_id"])
    return json_response({name: fields.get(name, "") for name in ANSWER_FIELDS})


def _name(user_id: str, conversation_id: str, agents_name: str) -> str:
    """Name a conversation as its agent does; by its id where that can be no name, or is another conversation's."""
    context().conversations.add_name(user_id, conversation_id, agents_name)
    named = context().conversations.find(user_id, agents_name)
    return agents_name if named is not None and named.id == conversation_id else conversation_id


def _failure(job: Job) -> Response:
    error = job.error or {"code": "", "message": f"The question was {job.status.value}"}
    status, message = ERRORS.get(error["code"], (HTTPStatus.INTERNAL_SERVER_ERROR, error["message"]))
    body = {"error": message, **{name: error[name] for name in DETAILS if name in error}}
    return json_response(dict(sorted(body.items())), status)
