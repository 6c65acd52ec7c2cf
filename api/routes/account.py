"""`/account`: the caller's own account: its password, its sessions, and its end."""

from http import HTTPStatus

from flask import Response, jsonify, request
from flask_openapi import APIBlueprint, Tag

from api.context import context
from api.guards import principal, require_user
from api.schemas.accounts import NewPassword, OwnPassword, SessionList, SessionPath, SessionView
from api.schemas.answers import ErrorAnswer
from shared.errors import NotFound
from shared.timestamps import utc

MAX_BODY_BYTES = 65_536

blueprint = APIBlueprint(
    "account",
    __name__,
    url_prefix="/account",
    abp_tags=[Tag(name="Accounts")],
    abp_security=[{"bearer": []}],
    abp_responses={400: ErrorAnswer, 401: ErrorAnswer},
)


@blueprint.before_request
def _bound() -> None:
    request.max_content_length = MAX_BODY_BYTES
    require_user()


@blueprint.put("/password", responses={204: None, 403: ErrorAnswer, 429: ErrorAnswer})
def change_password(body: NewPassword) -> tuple[str, int]:
    """Change the password; all sessions end, and access tokens with their time."""
    _check(body.password)
    context().sessions.change_password(principal().user_id, body.new_password)
    return "", HTTPStatus.NO_CONTENT


@blueprint.get("/sessions", responses={200: SessionList})
def sessions() -> Response:
    """List the log-ins that are still good."""
    found = context().sessions.list(principal().user_id)
    views = [SessionView(id=each.id, expires_at=utc(each.expires_ms)) for each in found]
    return jsonify(SessionList(data=views).model_dump(mode="json"))


@blueprint.delete("/sessions/<session_id>", responses={204: None, 404: ErrorAnswer})
def end_session(path: SessionPath) -> tuple[str, int]:
    """End a session: its refresh token is worthless at once."""
    if not context().sessions.end(principal().user_id, path.session_id):
        raise NotFound("There is no such session.", param="session_id")
    return "", HTTPStatus.NO_CONTENT


@blueprint.delete("", responses={204: None, 403: ErrorAnswer, 429: ErrorAnswer})
def remove(body: OwnPassword) -> tuple[str, int]:
    """Delete the account with all that is its; what runs for it is cancelled."""
    _check(body.password)
    context().members.remove(principal().user_id)
    return "", HTTPStatus.NO_CONTENT


def _check(password: str) -> None:
    context().sessions.check_password(principal().user_id, password, request.remote_addr or "")
