"""`/client/register`: where agents connect. A browser's agent sends no headers: its token may be in the path or the query."""

from http import HTTPStatus
from typing import Any, NoReturn

from flask import Response, request

from api.agents import websocket
from api.agents.websocket import NotWebSocket, WebSocket
from api.context import context
from api.dialects.chatgpt_api_server.blueprint import blueprint, text_response
from api.guards import credentials
from shared.errors import Unauthorized
from shared.models import Use

PATH = "/client/register"
PATH_WITH_TOKEN = "/agents/<token>/client/register"  # noqa: S105 - where a token stands, not one


class WebSocketClosed(Response):
    """Stands for the answer of a request whose socket was a WebSocket, and is closed: gunicorn must write nothing to it."""

    def __call__(self, *_: Any) -> NoReturn:
        """Let gunicorn know that nothing is left to do."""
        raise StopIteration


@blueprint.get(PATH, websocket=True)
@blueprint.get(PATH_WITH_TOKEN, websocket=True)
def register(token: str | None = None) -> Response:
    """Serve an agent for as long as it stays."""
    token_id = _token_id(token)
    agents = context().agents
    try:
        socket = WebSocket.accept(request.environ, agents.silence_seconds)
    except NotWebSocket:
        return refuse_others()
    agents.serve(socket, token_id)
    return WebSocketClosed(status=HTTPStatus.SWITCHING_PROTOCOLS)


@blueprint.get(PATH)
@blueprint.get(PATH_WITH_TOKEN)
def refuse_others(token: str | None = None) -> Response:  # noqa: ARG001 - the path has it
    """Refuse a request that is for no WebSocket."""
    response = text_response("Bad Request", HTTPStatus.BAD_REQUEST)
    response.headers["Sec-WebSocket-Version"] = websocket.VERSION
    return response


def _token_id(in_path: str | None) -> str | None:
    """Let an agent in that has an agent token, or the admin key in the header; everybody, where registration is open.

    Returns:
        the token's id; None where none was needed.

    Raises:
        Unauthorized: there is no token, or it is not an agent's.
    """
    if context().config.agent_registration == "open":
        return None
    in_header = credentials()
    token = in_path or request.args.get("token") or in_header
    if not token:
        raise Unauthorized("Agent token not provided")
    if in_header and context().authenticator.is_admin_key(in_header):
        return None
    agent_token = context().api_tokens.find(token, Use.AGENT)
    if agent_token is None:
        raise Unauthorized("Invalid agent token")
    return agent_token.id
