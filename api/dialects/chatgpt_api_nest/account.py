"""`/user`: the caller's own model and provider key, and what he has used."""

from typing import Any

from flask import Response, jsonify
from sqlalchemy.orm import Session

from api.auth.api_tokens import masked
from api.context import context
from api.dialects.chatgpt_api_nest.wire import CREATED, Invalid, blueprint, said
from api.guards import principal
from shared.errors import Unauthorized
from shared.models import User
from shared.models.base import MODEL_CHARS
from shared.vault import SealBroken, Vault

FIELDS = ("model", "openai_key")
KEY_CHARS = 1024
MASK = "…"


@blueprint.get("/user/config")
def config() -> Response:
    """Show the caller's model, and his own key masked; never the operator's."""
    with context().database.read() as session:
        return jsonify(_config(_user(session)))


@blueprint.post("/user/config")
def configured() -> tuple[Response, int]:
    """Change the caller's model or key; an empty text clears it, and the masked key, sent back, changes nothing."""
    body = said()
    _check(body)
    with context().database.write() as session:
        user = _user(session)
        if "model" in body:
            user.model = body["model"] or None
        key = body.get("openai_key")
        if key == "":
            user.provider_key = None
        elif key is not None and not _is_mask(key):
            user.provider_key = _vault().seal(key)
        return jsonify(_config(user)), CREATED


@blueprint.get("/user/usage")
def usage() -> Response:
    """Tell how many tokens the caller has used."""
    with context().database.read() as session:
        user = _user(session)
        return jsonify(id=user.id, token=user.used_tokens)


def _check(body: dict[str, Any]) -> None:
    complaints = [f"property {name} should not exist" for name in body if name not in FIELDS]
    complaints += [f"{name} must be a string" for name in FIELDS if name in body and not isinstance(body[name], str)]
    if complaints:
        raise Invalid(*complaints)
    if len(body.get("model", "")) > MODEL_CHARS:
        raise Invalid(f"model must be shorter than or equal to {MODEL_CHARS} characters")
    key = body.get("openai_key", "")
    if len(key) > KEY_CHARS or (not _is_mask(key) and not all("!" <= each <= "~" for each in key)):
        raise Invalid(f"openai_key must be at most {KEY_CHARS} printable ASCII characters")


def _is_mask(key: str) -> bool:
    """Tell whether this is what we showed in place of a key; no key has that character."""
    return MASK in key


def _user(session: Session) -> User:
    user = session.get(User, principal().user_id)
    if user is None:
        raise Unauthorized
    return user


def _config(user: User) -> dict[str, str]:
    return {"model": user.model or context().config.default_model, "openai_key": _mask(user.provider_key)}


def _mask(sealed: str | None) -> str:
    """Show a sealed key so that its owner knows it; one that cannot be opened any more, since SECRET_KEY is another, as a mask."""
    if not sealed:
        return ""
    try:
        return masked(_vault().open(sealed))
    except SealBroken:
        return MASK


def _vault() -> Vault:
    return Vault(context().config.secret_key)
