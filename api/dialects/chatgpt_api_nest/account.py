"""`/user`: the caller's own model and provider key, and how many tokens they have used."""

from http import HTTPStatus

from flask import Response, jsonify

from api.auth.user_settings import is_masked
from api.context import context
from api.dialects.chatgpt_api_nest.blueprint import Invalid, blueprint
from api.dialects.chatgpt_api_nest.request_fields import read_body
from api.guards import principal
from shared.json_types import JsonObject
from shared.models import User
from shared.models.base import MODEL_CHARS

FIELDS = ("model", "openai_key")
KEY_CHARS = 1024


@blueprint.get("/user/config")
def show_config() -> Response:
    """Return the caller's model, and their own key masked; never the operator's."""
    return jsonify(_config(context().user_settings.read(principal().user_id)))


@blueprint.post("/user/config")
def change_config() -> tuple[Response, int]:
    """Change the caller's model or key; an empty text clears it, and the masked key, sent back, changes nothing."""
    body = read_body()
    _check(body)
    key = body.get("openai_key")
    new_key = None if key is None or is_masked(key) else key
    user = context().user_settings.change(principal().user_id, model=body.get("model"), provider_key=new_key)
    return jsonify(_config(user)), HTTPStatus.CREATED


@blueprint.get("/user/usage")
def show_usage() -> Response:
    """Return how many tokens the caller has used."""
    user = context().user_settings.read(principal().user_id)
    return jsonify(id=user.id, token=user.used_tokens)


def _check(body: JsonObject) -> None:
    complaints = [f"property {name} should not exist" for name in body if name not in FIELDS]
    complaints += [f"{name} must be a string" for name in FIELDS if name in body and not isinstance(body[name], str)]
    if complaints:
        raise Invalid(*complaints)
    if len(body.get("model", "")) > MODEL_CHARS:
        raise Invalid(f"model must be shorter than or equal to {MODEL_CHARS} characters")
    key = body.get("openai_key", "")
    if len(key) > KEY_CHARS or (not is_masked(key) and not all("!" <= each <= "~" for each in key)):
        raise Invalid(f"openai_key must be at most {KEY_CHARS} printable ASCII characters")


def _config(user: User) -> dict[str, str]:
    return {"model": user.model or context().config.default_model, "openai_key": context().user_settings.masked_key(user)}
