"""`/auth`: accounts and their tokens."""

from dataclasses import asdict
from http import HTTPStatus

from flask import Response, jsonify, request
from flask_openapi import APIBlueprint, Tag

from api.auth import accounts
from api.context import context
from api.schemas.accounts import Credentials, Login, RefreshRequest, Registered, TokenPair
from api.schemas.answers import ErrorAnswer

MAX_BODY_BYTES = 65_536
"""Nobody is known here yet, and a large body takes the process seconds to read."""

blueprint = APIBlueprint(
    "auth", __name__, url_prefix="/auth", abp_tags=[Tag(name="Accounts")], abp_responses={400: ErrorAnswer, 401: ErrorAnswer}
)


@blueprint.before_request
def _bound() -> None:
    request.max_content_length = MAX_BODY_BYTES


@blueprint.post("/register", responses={201: Registered, 403: ErrorAnswer, 409: ErrorAnswer, 429: ErrorAnswer})
def register(body: Credentials) -> tuple[Response, int]:
    """Make an account."""
    user = context().accounts.register(body.username, body.password, request.remote_addr or "")
    return jsonify(Registered(id=user.id, sub=user.id, username=user.username).model_dump()), HTTPStatus.CREATED


@blueprint.post("/login", responses={201: TokenPair, 429: ErrorAnswer})
def login(body: Login) -> tuple[Response, int]:
    """Trade a name and a password for an access token and a refresh token."""
    return _pair(context().accounts.login(body.username, body.password, request.remote_addr or ""))


@blueprint.post("/refresh", responses={201: TokenPair})
def refresh(body: RefreshRequest) -> tuple[Response, int]:
    """Trade a refresh token for new tokens. It can be used once; a second use revokes all that came of its login."""
    return _pair(context().accounts.refresh(body.refresh_token))


@blueprint.post("/logout", responses={204: None})
def logout(body: RefreshRequest) -> tuple[str, int]:
    """Revoke a refresh token and all that came of the same login."""
    context().accounts.logout(body.refresh_token)
    return "", HTTPStatus.NO_CONTENT


def _pair(tokens: accounts.Tokens) -> tuple[Response, int]:
    return jsonify(TokenPair(**asdict(tokens)).model_dump()), HTTPStatus.CREATED
