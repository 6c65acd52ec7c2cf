"""`/admin/users`, `/admin/agents`: users and agent tokens, for callers with the admin key."""

from collections.abc import Callable
from http import HTTPStatus

from flask import Response, request

from api.auth import accounts
from api.context import context
from api.dialects.chatgpt_api_server.blueprint import blueprint, json_response
from api.guards import credentials
from api.http import go_json
from shared.errors import DatabaseUnavailable
from shared.json_types import JsonObject
from shared.models import Use
from shared.models.user import USERNAME_CHARS

Change = Callable[[dict[str, str]], JsonObject]
"""Takes the fields of a body, changes something, and returns the answer."""


@blueprint.post("/admin/users/add")
def add_user() -> Response:
    """Create a user, and answer their token."""
    return _change((), _add_user, "Failed to insert user_id and token into database")


@blueprint.post("/admin/users/delete")
def delete_user() -> Response:
    """Delete a user with all that is theirs."""
    return _change(("user_id",), _delete_user, "Failed to delete user from database")


@blueprint.get("/admin/users")
def users() -> Response:
    """List the users' tokens, masked."""
    return _list(lambda: {"users": _users() or None}, "Failed to get users from database")


@blueprint.post("/admin/agents/add")
def add_agent() -> Response:
    """Create an agent token, and answer it."""
    return _change(("name",), _add_agent, "Failed to insert agent token into database")


@blueprint.post("/admin/agents/delete")
def delete_agent() -> Response:
    """Revoke an agent token; agents that came with it are asked nothing any more."""
    return _change(("agent_token_id",), _delete_agent, "Failed to delete agent token from database")


@blueprint.get("/admin/agents")
def agents() -> Response:
    """List the agent tokens, masked."""
    return _list(lambda: {"agents": _agents() or None}, "Failed to get agent tokens from database")


def _change(names: tuple[str, ...], change: Change, failure: str) -> Response:
    """Make the change that the body asks for, if it has the admin key."""
    try:
        fields = go_json.strings(request.get_data(), ("admin_key", *names), whole=False)
    except ValueError:
        return json_response({"error": "Invalid request body"}, HTTPStatus.BAD_REQUEST)
    if not context().authenticator.is_admin_key(fields["admin_key"]):
        return _not_admin()
    try:
        return json_response(change(fields))
    except DatabaseUnavailable:
        return json_response({"error": failure}, HTTPStatus.INTERNAL_SERVER_ERROR)


def _list(read: Callable[[], JsonObject], failure: str) -> Response:
    """Answer a list to callers with the admin key: in the query, or in the header, where no proxy logs it."""
    key = request.args.get("admin_key") or credentials() or ""
    if not context().authenticator.is_admin_key(key):
        return _not_admin()
    try:
        return json_response(read())
    except DatabaseUnavailable as error:
        return json_response({"error": error.message, "message": failure}, HTTPStatus.INTERNAL_SERVER_ERROR)


def _not_admin() -> Response:
    return json_response({"error": "Invalid admin key"}, HTTPStatus.UNAUTHORIZED)


def _add_user(_: dict[str, str]) -> JsonObject:
    user_id, token = context().members.add()
    return {"token": token, "user_id": user_id}


def _delete_user(fields: dict[str, str]) -> JsonObject:
    context().members.remove(fields["user_id"])
    return {"message": "User deleted"}


def _users() -> list[JsonObject]:
    return [{"user_id": row.user_id, "token": row.hint} for row in context().api_tokens.list(use=Use.API)]


def _add_agent(fields: dict[str, str]) -> JsonObject:
    owner = context().accounts.built_in(accounts.OPERATOR)
    name = fields["name"][:USERNAME_CHARS]
    row, token = context().api_tokens.create(owner, use=Use.AGENT, name=name)
    return {"agent_token_id": row.id, "token": token}


def _delete_agent(fields: dict[str, str]) -> JsonObject:
    context().api_tokens.revoke(fields["agent_token_id"], use=Use.AGENT)
    return {"message": "Agent token deleted"}


def _agents() -> list[JsonObject]:
    rows = context().api_tokens.list(use=Use.AGENT)
    return [{"agent_token_id": row.id, "name": row.name, "token": row.hint} for row in rows]
