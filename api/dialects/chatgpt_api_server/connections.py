"""`/api/connections`: which agents are connected. `/health`: that this process answers."""

from flask import Response

from api.auth import api_tokens
from api.context import context
from api.dialects.chatgpt_api_server.blueprint import blueprint, json_response, text_response
from api.guards import credentials
from shared.agents import presence
from shared.agents.presence import ConnectedAgent
from shared.errors import DatabaseUnavailable, Unauthorized, Unavailable
from shared.json_types import JsonObject
from shared.redis.redis_clients import RedisError
from shared.timestamps import utc_of_us

NEVER = "0001-01-01T00:00:00Z"


@blueprint.get("/health")
def health() -> Response:
    """Answer that this process answers."""
    return text_response("OK")


@blueprint.get("/api/connections")
def connections() -> Response:
    """List the agents that are connected. Their ids, under which they can be replaced, are for those who may ask them."""
    try:
        agents = presence.connected_agents(context().redis)
    except RedisError as error:
        raise Unavailable from error
    may_see = _is_user()
    return json_response({"connections": [_connection(agent, may_see=may_see) for agent in agents] or None})


def _is_user() -> bool:
    """Return whether the caller has a good token; nobody needs one here."""
    token = credentials()
    try:
        return token is not None and bool(context().authenticator.by_token(token))
    except (Unauthorized, DatabaseUnavailable):
        return False


def _connection(agent: ConnectedAgent, *, may_see: bool) -> JsonObject:
    return {
        "Ws": {},
        "Id": agent.agent_id if may_see else api_tokens.masked(agent.agent_id),
        "Heartbeat": _rfc3339(agent.location.answered_us),
        "LastMessageTime": _rfc3339(agent.used_us) if agent.used_us else NEVER,
    }


def _rfc3339(us: int) -> str:
    return utc_of_us(us).isoformat().replace("+00:00", "Z")
