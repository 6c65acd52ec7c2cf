"""The blueprint of this dialect, its paths, its JSON (sorted, with a newline behind it), its errors, and who may call."""

import json
import re
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from api.auth import accounts
from api.auth.authenticator import Principal
from api.context import context
from api.dialects.chatgpt_proxy.reserved import RESERVED, ChatId
from api.guards import credentials, set_principal
from api.http.errors import NotRouted
from shared.errors import ChatrelayError, NotFound, Unauthorized

PATHS = frozenset({"/", "/system", "/mod"})
HTML = "text/html; charset=utf-8"

_CHAT = re.compile(r"/([^/]+)/(?:chat|system|img|clear)")

blueprint = Blueprint("chatgpt_proxy", __name__)
blueprint.record_once(lambda state: state.app.url_map.converters.update(chat_id=ChatId))


def owns(path: str) -> bool:
    """Return whether a path is this dialect's: its own, and those of chats whose ids are reserved, where nothing else answers."""
    chat = _CHAT.fullmatch(path)
    return path in PATHS or (chat is not None and (chat[1] not in RESERVED or request.url_rule is None))


def refusal(error: ChatrelayError) -> Response:
    """Return an error as this dialect writes it; a path or a method that does not exist is answered as the original does."""
    is_missing = isinstance(error, NotFound | NotRouted) and error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
    if is_missing and request.url_rule is None:
        chat = _CHAT.fullmatch(request.path)
        if chat is not None and chat[1] in RESERVED:
            return json_response({"error": f"{chat[1]} is reserved and cannot be a chat's id"}, HTTPStatus.BAD_REQUEST)
        return Response("Not Found", status=HTTPStatus.NOT_FOUND, content_type=HTML)
    return json_response({"error": error.message}, error.status)


def json_response(body: Any, status: int = HTTPStatus.OK) -> Response:
    """Return a response in JSON, its keys sorted."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"
    return Response(text, status=status, content_type="application/json")


def authenticate() -> None:
    """Set the principal by the request's token; without one, where the operator allows it, to the anonymous user.

    Raises:
        Unauthorized: no token, or a bad one.
    """
    token = credentials()
    if token is None and context().config.anonymous_access:
        set_principal(Principal(context().accounts.built_in(accounts.ANONYMOUS)))
    elif not token:
        raise Unauthorized("Send a token in the Authorization header.")
    else:
        set_principal(context().authenticator.by_token(token))
