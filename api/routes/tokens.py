"""`/auth/tokens`: a user's own API tokens, which do not expire and can be revoked."""

from http import HTTPStatus

from flask import Response, jsonify
from flask_openapi import APIBlueprint, Tag

from api.context import context
from api.guards import principal, require_user
from api.schemas.accounts import NewToken, TokenList, TokenPath, TokenRequest, TokenView
from api.schemas.answers import ErrorAnswer
from shared.errors import NotFound
from shared.models import ApiToken, Use
from shared.timestamps import utc

blueprint = APIBlueprint(
    "tokens",
    __name__,
    url_prefix="/auth/tokens",
    abp_tags=[Tag(name="Accounts")],
    abp_security=[{"bearer": []}],
    abp_responses={400: ErrorAnswer, 401: ErrorAnswer},
)
blueprint.before_request(require_user)


@blueprint.post("", responses={201: NewToken})
def make(body: TokenRequest) -> tuple[Response, int]:
    """Make an API token. This answer is the only one that tells it."""
    row, token = context().api_tokens.create(principal().user_id, name=body.name)
    return jsonify(NewToken(**_view(row).model_dump(), secret=token).model_dump(mode="json")), HTTPStatus.CREATED


@blueprint.get("", responses={200: TokenList})
def index() -> Response:
    """List your API tokens, masked, oldest first."""
    rows = context().api_tokens.list(use=Use.API, user_id=principal().user_id)
    return jsonify(TokenList(data=[_view(row) for row in rows]).model_dump(mode="json"))


@blueprint.delete("/<token_id>", responses={204: None, 404: ErrorAnswer})
def revoke(path: TokenPath) -> tuple[str, int]:
    """Revoke an API token: it is worthless at once."""
    if not context().api_tokens.revoke(path.token_id, use=Use.API, user_id=principal().user_id):
        raise NotFound("There is no such token.", param="token_id")
    return "", HTTPStatus.NO_CONTENT


def _view(row: ApiToken) -> TokenView:
    return TokenView(id=row.id, name=row.name, token=row.hint, created_at=utc(row.created_ms))
