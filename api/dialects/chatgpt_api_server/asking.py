"""`/api/ask`: a question for an agent, answered when the answer is there. `/api/connections`: which agents there are. `/health`."""

import time
from datetime import UTC, datetime
from typing import Any

from flask import Response, request
from sqlalchemy import select

from api.auth import api_tokens
from api.context import context
from api.dialects.chatgpt_api_server import wire
from api.dialects.chatgpt_api_server.wire import blueprint
from api.guards import credentials, principal, set_principal
from api.http import go_json
from api.jobs.submission import Submission
from shared.agents import presence
from shared.agents.presence import ConnectedAgent
from shared.agents.requests import AGENT_MODEL, ANSWER_FIELDS, AgentError
from shared.errors import DatabaseUnavailable, NotFound, Unauthorized, Unavailable
from shared.messages.answer import text_of
from shared.models import Job, Message, Status
from shared.redis_clients import RedisError

ASK_FIELDS = ("content", "conversation_id", "parent_id", "message_id")
WISHES = ("message_id", "parent_id")
NEVER = "0001-01-01T00:00:00Z"
MICROSECONDS = 1_000_000
PATIENCE_SECONDS = 60.0
AGAIN_SECONDS = 0.5
FLAGGED = "content_flagged"

TROUBLES: dict[str, tuple[int, str]] = {
    AgentError.NONE: (wire.UNAVAILABLE, "No available clients"),
    AgentError.PING_FAILED: (wire.UNAVAILABLE, "Ping failed"),
    AgentError.GONE: (wire.INTERNAL_ERROR, "Connection no longer exists"),
    AgentError.SEND_FAILED: (wire.INTERNAL_ERROR, "Failed to send request to the client"),
    AgentError.READ_FAILED: (wire.INTERNAL_ERROR, "Failed to read response from the client"),
    AgentError.WRONG_REPLY: (wire.INTERNAL_ERROR, "Failed to find response from the client"),
    AgentError.BAD_ANSWER: (wire.INTERNAL_ERROR, "Failed to convert response to ChatGptResponse"),
    FLAGGED: (wire.BAD_REQUEST, "The content was flagged by moderation"),
}
"""What each error code of a job is here. Others are told in the job's own words."""
DETAILS = ("err", "response")
NO_CONVERSATION = "Conversation doesn't exists"


@blueprint.get("/health")
def health() -> Response:
    """Tell that this process answers."""
    return wire.text("OK")


@blueprint.post("/api/ask")
def ask() -> Response:
    """Ask an agent, and wait for the answer."""
    try:
        asked = go_json.strings(request.get_data(), ASK_FIELDS, whole=False)
    except ValueError:
        return wire.text(go_json.written({"error": "Invalid request"}), wire.BAD_REQUEST)
    if (refused := _let_in()) is not None:
        return refused
    try:
        job = context().submitter.submit(principal().user_id, _ask(asked))
    except NotFound:
        return wire.answer({"error": NO_CONVERSATION}, wire.INTERNAL_ERROR)
    return _answered(job)


@blueprint.get("/api/connections")
def connections() -> Response:
    """List the agents that are there. Their ids, under which they can be replaced, are for those who may ask them."""
    try:
        agents = presence.connected_agents(context().redis)
    except RedisError as error:
        raise Unavailable from error
    may_see = _is_known()
    return wire.answer({"connections": [_connection(agent, may_see=may_see) for agent in agents] or None})


def _let_in() -> Response | None:
    """Find out who is calling; a refusal if that is nobody."""
    token = credentials()
    if token is None:
        return wire.answer({"error": "API key not provided"}, wire.UNAUTHORIZED)
    try:
        set_principal(context().authenticator.by_token(token))
    except Unauthorized:
        return wire.answer({"error": "Invalid API key"}, wire.UNAUTHORIZED)
    except DatabaseUnavailable:
        return wire.answer({"error": "Failed to verify API key"}, wire.INTERNAL_ERROR)
    return None


def _is_known() -> bool:
    """Tell whether the caller has a token; here he needs none."""
    token = credentials()
    try:
        return token is not None and bool(context().authenticator.by_token(token))
    except (Unauthorized, DatabaseUnavailable):
        return False


def _ask(asked: dict[str, str]) -> Submission:
    known = asked["conversation_id"] or None
    return Submission(
        message={"role": "user", "content": asked["content"]},
        conversation_id=known,
        parent_id=_place(known, asked["parent_id"]) if known else None,
        agent={name: asked[name] for name in WISHES if asked[name]},
        model=AGENT_MODEL,
    )


def _place(conversation_id: str, response_id: str) -> str | None:
    """Find the answer that an agent calls by this id, so that the question follows it here too; else it follows the last one."""
    conversation = context().conversations.find(principal().user_id, conversation_id)
    if conversation is None or not response_id:
        return None
    with context().database.read() as session:
        is_it = Message.origin["response_id"].as_string() == response_id
        return session.scalar(select(Message.id).where(Message.conversation_id == conversation.id, is_it).limit(1))


def _answered(job: Job) -> Response:
    """Wait for the answer, and tell it. A database that is away for a moment costs no answer that is there, or is on its way."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _told(context().jobs.wait_for_end(job))
        except NotFound:  # it was deleted meanwhile, maybe with its conversation
            return wire.answer({"error": NO_CONVERSATION}, wire.INTERNAL_ERROR)
        except DatabaseUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(AGAIN_SECONDS)


def _told(job: Job) -> Response:
    if job.status not in {Status.COMPLETED, Status.INCOMPLETE}:
        return _trouble(job)
    said = {**_origin(job), "content": text_of(job.message)}
    if job.conversation_id and said.get("conversation_id"):
        said["conversation_id"] = _name(job.user_id, job.conversation_id, said["conversation_id"])
    return wire.answer({name: said.get(name, "") for name in ANSWER_FIELDS})


def _name(user_id: str, conversation_id: str, agents_name: str) -> str:
    """Name a conversation as its agent does; by its id where that cannot be a name, or another conversation is called so."""
    context().conversations.add_name(user_id, conversation_id, agents_name)
    known = context().conversations.find(user_id, agents_name)
    return agents_name if known is not None and known.id == conversation_id else conversation_id


def _origin(job: Job) -> dict[str, Any]:
    """Read what the agent said besides the text."""
    with context().database.read() as session:
        message = session.get(Message, job.answer_id) if job.answer_id else None
    return (message.origin if message else None) or {}


def _trouble(job: Job) -> Response:
    error = job.error or {"code": "", "message": f"The question was {job.status.value}"}
    status, words = TROUBLES.get(error["code"], (wire.INTERNAL_ERROR, error["message"]))
    told = {"error": words, **{name: error[name] for name in DETAILS if name in error}}
    return wire.answer(dict(sorted(told.items())), status)


def _connection(agent: ConnectedAgent, *, may_see: bool) -> dict[str, Any]:
    return {
        "Ws": {},
        "Id": agent.agent_id if may_see else api_tokens.masked(agent.agent_id),
        "Heartbeat": _moment(agent.location.answered_us),
        "LastMessageTime": _moment(agent.used_us) if agent.used_us else NEVER,
    }


def _moment(us: int) -> str:
    return datetime.fromtimestamp(us / MICROSECONDS, UTC).isoformat().replace("+00:00", "Z")
