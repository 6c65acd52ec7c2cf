"""`/v1/webhook_endpoints`: addresses that are notified of the ends of the caller's responses, with secrets to know us by.

The routes are those of openai-python 3.52.
"""

from typing import Literal

from flask import Blueprint, Response, jsonify
from pydantic import Field

from api.context import context
from api.dialects.openai import paging
from api.dialects.openai.request import read_body
from api.guards import principal
from api.http.bodies import Body
from shared.json_types import JsonObject
from shared.models import WebhookEndpoint
from shared.models.webhook import NAME_CHARS
from shared.timestamps import unix_seconds
from shared.webhooks import events

EventType = Literal["response.completed", "response.failed", "response.cancelled", "response.incomplete"]
MAX_URL_CHARS = 2_048

blueprint = Blueprint("webhooks", __name__)


class NewEndpoint(Body):
    """An endpoint to create."""

    name: str = Field(min_length=1, max_length=NAME_CHARS)
    url: str = Field(min_length=1, max_length=MAX_URL_CHARS)
    event_types: list[EventType] = Field(min_length=1)


class Change(Body):
    """What of an endpoint is to change. Any change enables an endpoint that was disabled."""

    name: str | None = Field(None, min_length=1, max_length=NAME_CHARS)
    url: str | None = Field(None, min_length=1, max_length=MAX_URL_CHARS)
    event_types: list[EventType] | None = Field(None, min_length=1)


class Rotation(Body):
    """How to rotate a secret."""

    keep_old_secret_active_for_24_hours: bool = False


@blueprint.get("/webhook_event_types")
def event_types() -> Response:
    """List the types of events."""
    return jsonify({"object": "list", "data": list(events.EVENT_TYPES)})


@blueprint.post("/webhook_endpoints")
def create() -> Response:
    """Create an endpoint. No other answer than this one has its secret."""
    body = read_body(NewEndpoint)
    endpoint, secret = context().webhook_endpoints.create(_caller(), name=body.name, url=body.url, event_types=body.event_types)
    return jsonify({**_view(endpoint), "signing_secret": secret})


@blueprint.get("/webhook_endpoints")
def index() -> Response:
    """List the caller's endpoints, the newest first."""
    return jsonify(paging.page([_view(endpoint) for endpoint in context().webhook_endpoints.list(_caller())]))


@blueprint.get("/webhook_endpoints/<endpoint_id>")
def show(endpoint_id: str) -> Response:
    """Show an endpoint."""
    return jsonify(_view(context().webhook_endpoints.find(_caller(), endpoint_id)))


@blueprint.post("/webhook_endpoints/<endpoint_id>")
def change(endpoint_id: str) -> Response:
    """Change an endpoint."""
    body = read_body(Change)
    endpoint = context().webhook_endpoints.change(
        _caller(), endpoint_id, name=body.name, url=body.url, event_types=body.event_types
    )
    return jsonify(_view(endpoint))


@blueprint.delete("/webhook_endpoints/<endpoint_id>")
def remove(endpoint_id: str) -> Response:
    """Delete an endpoint, with its deliveries."""
    context().webhook_endpoints.remove(_caller(), endpoint_id)
    return jsonify({"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


@blueprint.post("/webhook_endpoints/<endpoint_id>/rotate_secret")
def rotate(endpoint_id: str) -> Response:
    """Give an endpoint a new secret; on request the old one signs, too, for a day."""
    body = read_body(Rotation)
    keep = body.keep_old_secret_active_for_24_hours
    endpoint, secret = context().webhook_endpoints.rotate_secret(_caller(), endpoint_id, keep_former=keep)
    return jsonify({**_view(endpoint), "signing_secret": secret})


def _caller() -> str:
    return principal().user_id


def _view(endpoint: WebhookEndpoint) -> JsonObject:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "signing_secret_hint": endpoint.secret_hint,
        "enabled": endpoint.enabled,
        "created_at": unix_seconds(endpoint.created_ms),
        "updated_at": unix_seconds(endpoint.updated_ms),
    }
