"""`/v1/webhook_endpoints`: where the caller is told of the ends of his responses, with secrets to know us by.

The routes are those of openai-python 3.52. What was delivered is `webhook_deliveries.py`.
"""

import base64
import secrets
from typing import Literal
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.auth import api_tokens
from api.context import context
from api.dialects.openai import paging, wire
from api.guards import principal
from api.http.bodies import Body
from shared.database import now_ms
from shared.errors import InvalidRequest, NotFound
from shared.ids import new_id
from shared.jobs import webhook_events
from shared.json_types import JsonObject
from shared.models import User, WebhookEndpoint
from shared.models.webhook import NAME_CHARS
from shared.vault import Vault

EventType = Literal["response.completed", "response.failed", "response.cancelled", "response.incomplete"]
MAX_ENDPOINTS = 20
"""How many endpoints a user may have."""
MAX_URL_CHARS = 2_048
SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
ROTATION_MS = 24 * 3_600_000

blueprint = Blueprint("webhooks", __name__)


class NewEndpoint(Body):
    """An endpoint to make."""

    name: str = Field(min_length=1, max_length=NAME_CHARS)
    url: str = Field(min_length=1, max_length=MAX_URL_CHARS)
    event_types: list[EventType] = Field(min_length=1)


class Change(Body):
    """What of an endpoint is to change. Any change sets an endpoint that was disabled going again."""

    name: str | None = Field(None, min_length=1, max_length=NAME_CHARS)
    url: str | None = Field(None, min_length=1, max_length=MAX_URL_CHARS)
    event_types: list[EventType] | None = Field(None, min_length=1)


class Rotation(Body):
    """How to change a secret."""

    keep_old_secret_active_for_24_hours: bool = False


@blueprint.get("/webhook_event_types")
def event_types() -> Response:
    """List what can be told of."""
    return jsonify({"object": "list", "data": list(webhook_events.EVENT_TYPES)})


@blueprint.post("/webhook_endpoints")
def create() -> Response:
    """Make an endpoint. This answer is the only one that tells its secret."""
    body = wire.read(NewEndpoint)
    _check_url(body.url)
    secret = _new_secret()
    endpoint = WebhookEndpoint(
        id=new_id("whe"), user_id=_caller(), name=body.name, url=body.url, event_types=_types(body.event_types)
    )
    endpoint.secret, endpoint.secret_hint = _vault().seal(secret), api_tokens.masked(secret)
    with context().database.write() as session:
        _check_count(session)
        session.add(endpoint)
        session.flush()
        session.refresh(endpoint)
    return jsonify({**_view(endpoint), "signing_secret": secret})


def _check_count(session: Session) -> None:
    session.get(User, _caller(), with_for_update={"key_share": True})  # one after another
    mine = select(func.count()).select_from(WebhookEndpoint).where(WebhookEndpoint.user_id == _caller())
    if (session.scalar(mine) or 0) >= MAX_ENDPOINTS:
        raise InvalidRequest(f"You have {MAX_ENDPOINTS} webhook endpoints already.", code="too_many_webhook_endpoints")


@blueprint.get("/webhook_endpoints")
def index() -> Response:
    """List the caller's endpoints, the newest first."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.user_id == _caller())
    with context().database.read() as session:
        rows = session.scalars(query.order_by(WebhookEndpoint.created_ms, WebhookEndpoint.id))
        return jsonify(paging.page([_view(row) for row in rows]))


@blueprint.get("/webhook_endpoints/<endpoint_id>")
def show(endpoint_id: str) -> Response:
    """Show an endpoint."""
    with context().database.read() as session:
        return jsonify(_view(found(session, endpoint_id)))


@blueprint.post("/webhook_endpoints/<endpoint_id>")
def change(endpoint_id: str) -> Response:
    """Change an endpoint."""
    body = wire.read(Change)
    if body.url is not None:
        _check_url(body.url)
    with context().database.write() as session:
        endpoint = found(session, endpoint_id)
        endpoint.name = body.name or endpoint.name
        endpoint.url = body.url or endpoint.url
        endpoint.event_types = _types(body.event_types) if body.event_types else endpoint.event_types
        endpoint.enabled = True
        _touch(session, endpoint)
    return jsonify(_view(endpoint))


@blueprint.delete("/webhook_endpoints/<endpoint_id>")
def remove(endpoint_id: str) -> Response:
    """Delete an endpoint, with its deliveries."""
    with context().database.write() as session:
        session.delete(found(session, endpoint_id))
    return jsonify({"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


@blueprint.post("/webhook_endpoints/<endpoint_id>/rotate_secret")
def rotate(endpoint_id: str) -> Response:
    """Give an endpoint a new secret; where it is asked for, the old one signs too for a day."""
    body = wire.read(Rotation)
    secret = _new_secret()
    with context().database.write() as session:
        endpoint = found(session, endpoint_id)
        keeps = body.keep_old_secret_active_for_24_hours
        endpoint.former_secret = endpoint.secret if keeps else None
        endpoint.former_until_ms = (session.scalar(select(now_ms())) or 0) + ROTATION_MS if keeps else None
        endpoint.secret, endpoint.secret_hint = _vault().seal(secret), api_tokens.masked(secret)
        _touch(session, endpoint)
    return jsonify({**_view(endpoint), "signing_secret": secret})


def _check_url(url: str) -> None:
    """Refuse what no worker would call. Where a name leads is looked at when it is called."""
    if not _is_callable(url):
        raise InvalidRequest("url must be an https address with a host, and without credentials.", param="url")


def _is_callable(url: str) -> bool:
    schemes = {"http", "https"} if context().config.webhook_private else {"https"}
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is none, signs that become others
        return False
    is_anonymous = parts.username is None and parts.password is None
    return has_host and is_anonymous and parts.scheme in schemes and not any(sign.isspace() for sign in url)


def _types(wanted: list[EventType]) -> list[str]:
    return sorted(set(wanted))


def _touch(session: Session, endpoint: WebhookEndpoint) -> None:
    endpoint.updated_ms = session.scalar(select(now_ms())) or endpoint.updated_ms


def _new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _vault() -> Vault:
    return Vault(context().config.secret_key)


def _caller() -> str:
    return principal().user_id


def found(session: Session, endpoint_id: str) -> WebhookEndpoint:
    """Find the caller's endpoint.

    Raises:
        NotFound: there is none, or it is somebody else's; the two answer alike.
    """
    mine = WebhookEndpoint.id == endpoint_id, WebhookEndpoint.user_id == _caller()
    row = session.scalar(select(WebhookEndpoint).where(*mine))
    if row is None:
        raise NotFound(f"No webhook endpoint was found under the id '{endpoint_id}'.", param="webhook_endpoint_id")
    return row


def _view(endpoint: WebhookEndpoint) -> JsonObject:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "signing_secret_hint": endpoint.secret_hint,
        "enabled": endpoint.enabled,
        "created_at": endpoint.created_ms // 1000,
        "updated_at": endpoint.updated_ms // 1000,
    }
