"""`/admin/users`, `/admin/agents`: users and agent tokens, for whoever has the admin key."""

from collections.abc import Callable
from typing import Any

from flask import Response, request

from api.auth import accounts
from api.context import context
from api.dialects.chatgpt_api_server import wire
from api.dialects.chatgpt_api_server.wire import blueprint
from api.guards import credentials
from api.http import go_json
from shared.errors import DatabaseUnavailable
from shared.models import Use
from shared.models.user import USERNAME_CHARS

Work = Callable[[dict[str, str]], dict[str, Any]]


@blueprint.post("/admin/users/add")
def add_user() -> Response:
    """Make a user, and tell his token."""
    return _done((), _add_user, "Failed to insert user_id and token into database")


@blueprint.post("/admin/users/delete")
def delete_user() -> Response:
    """Remove a user with all that is his."""
    return _done(("user_id",), _delete_user, "Failed to delete user from database")


@blueprint.get("/admin/users")
def users() -> Response:
    """List the users' tokens, masked."""
    return _listed(lambda: {"users": _users() or None}, "Failed to get users from database")


@blueprint.post("/admin/agents/add")
def add_agent() -> Response:
    """Make an agent token, and tell it."""
    return _done(("name",), _add_agent, "Failed to insert agent token into database")


@blueprint.post("/admin/agents/delete")
def delete_agent() -> Response:
    """Make an agent token worthless; agents that came with it are asked nothing any more."""
    return _done(("agent_token_id",), _delete_agent, "Failed to delete agent token from database")


@blueprint.get("/admin/agents")
def agents() -> Response:
    """List the agent tokens, masked."""
    return _listed(lambda: {"agents": _agents() or None}, "Failed to get agent tokens from database")


def _done(names: tuple[str, ...], work: Work, failure: str) -> Response:
    """Do what the body asks for, if it has the admin key."""
    try:
        said = go_json.strings(request.get_data(), ("admin_key", *names), whole=False)
    except ValueError:
        return wire.answer({"error": "Invalid request body"}, wire.BAD_REQUEST)
    if not context().authenticator.is_admin_key(said["admin_key"]):
        return _not_admin()
    try:
        return wire.answer(work(said))
    except DatabaseUnavailable:
        return wire.answer({"error": failure}, wire.INTERNAL_ERROR)


def _listed(look: Callable[[], dict[str, Any]], failure: str) -> Response:
    """Answer a list to who has the admin key: in the query, or in the header, where no proxy logs it."""
    key = request.args.get("admin_key") or credentials() or ""
    if not context().authenticator.is_admin_key(key):
        return _not_admin()
    try:
        return wire.answer(look())
    except DatabaseUnavailable as error:
        return wire.answer({"error": error.message, "message": failure}, wire.INTERNAL_ERROR)


def _not_admin() -> Response:
    return wire.answer({"error": "Invalid admin key"}, wire.UNAUTHORIZED)


def _add_user(_: dict[str, str]) -> dict[str, Any]:
    user_id, token = context().members.add()
    return {"token": token, "user_id": user_id}


def _delete_user(said: dict[str, str]) -> dict[str, Any]:
    context().members.remove(said["user_id"])
    return {"message": "User deleted"}


def _users() -> list[dict[str, Any]]:
    return [{"user_id": row.user_id, "token": row.hint} for row in context().api_tokens.list(use=Use.API)]


def _add_agent(said: dict[str, str]) -> dict[str, Any]:
    owner = context().accounts.built_in(accounts.OPERATOR)
    name = said["name"][:USERNAME_CHARS]
    row, token = context().api_tokens.create(owner, use=Use.AGENT, name=name)
    return {"agent_token_id": row.id, "token": token}


def _delete_agent(said: dict[str, str]) -> dict[str, Any]:
    context().api_tokens.revoke(said["agent_token_id"], use=Use.AGENT)
    return {"message": "Agent token deleted"}


def _agents() -> list[dict[str, Any]]:
    rows = context().api_tokens.list(use=Use.AGENT)
    return [{"agent_token_id": row.id, "name": row.name, "token": row.hint} for row in rows]
