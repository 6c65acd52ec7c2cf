"""How this wire words things: sorted JSON with a newline behind it, its refusals, what a request may say, who may ask."""

import json
import re
from typing import Any

from flask import Blueprint, Response, request

from api.auth import accounts
from api.auth.authenticator import Principal
from api.context import context
from api.dialects.chatgpt_proxy.reserved import RESERVED, ChatId
from api.guards import credentials, set_principal
from api.http.bodies import check_values
from api.http.errors import NotRouted
from shared.errors import ChatrelayError, InvalidRequest, NotFound, Unauthorized

OK = 200
METHOD_NOT_ALLOWED = 405
UNSUPPORTED_MEDIA_TYPE = 415
PATHS = frozenset({"/", "/system", "/mod"})
CONTENT_MISSING = "content not in request"

_CHAT = re.compile(r"/([^/]+)/(?:chat|system|img|clear)")

blueprint = Blueprint("chatgpt_proxy", __name__)
blueprint.record_once(lambda state: state.app.url_map.converters.update(chat_id=ChatId))


class NotJson(InvalidRequest):
    """The body must be JSON, and say so."""

    status = UNSUPPORTED_MEDIA_TYPE


def owns(path: str) -> bool:
    """Tell whether this wire is spoken at a path: its own, and those of chats whose ids are reserved where nothing else answers."""
    chat = _CHAT.fullmatch(path)
    return path in PATHS or (chat is not None and (chat[1] not in RESERVED or request.url_rule is None))


def refusal(error: ChatrelayError) -> Response:
    """Say what went wrong; to a path or a method that is not there, as the original does."""
    is_lost = isinstance(error, NotFound | NotRouted) and error.status in {NotFound.status, METHOD_NOT_ALLOWED}
    if is_lost and request.url_rule is None:
        chat = _CHAT.fullmatch(request.path)
        if chat is not None and chat[1] in RESERVED:
            return answer({"error": f"{chat[1]} is reserved and cannot be a chat's id"}, InvalidRequest.status)
        return Response("Not Found", status=NotFound.status, content_type="text/html; charset=utf-8")
    return answer({"error": error.message}, error.status)


def answer(body: Any, status: int = OK) -> Response:
    """Answer with JSON, its keys sorted."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"
    return Response(text, status=status, content_type="application/json")


def let_in() -> None:
    """Find out who is calling; where the operator allows it, who sends no token is the anonymous user.

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


def said(*names: str) -> list[str]:
    """Read texts from the request's body; a number is taken as its digits.

    Raises:
        NotJson: it does not say that it is JSON.
        InvalidRequest: it is none, or one of the texts is missing.
    """
    if not request.is_json:
        raise NotJson
    body: Any = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", param="body")
    check_values(body)
    return [_text(body.get(name)) for name in names]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidRequest(CONTENT_MISSING, param="content")
