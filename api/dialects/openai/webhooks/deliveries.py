"""What webhook endpoints were sent: a test, the list of deliveries, and sending one again. The last two are our own."""

from flask import Blueprint, Response, jsonify

from api.context import context
from api.dialects.openai import paging
from api.dialects.openai.request import read_body
from api.dialects.openai.webhooks.endpoints import EventType
from api.guards import principal
from api.http.bodies import Body
from shared.json_types import JsonObject
from shared.models import WebhookDelivery
from shared.timestamps import unix_seconds

blueprint = Blueprint("webhook_deliveries", __name__)


class Test(Body):
    """Which event to send for a test."""

    event_type: EventType


@blueprint.post("/webhook_endpoints/<endpoint_id>/test")
def test(endpoint_id: str) -> Response:
    """Send an event of no response, once, and answer with what the endpoint answered."""
    body = read_body(Test)
    status = context().webhook_deliveries.test(principal().user_id, endpoint_id, body.event_type)
    result = {"event_type": body.event_type, "status_code": status, "success": True}
    return jsonify({"object": "webhook_endpoint.test", "webhook_endpoint_id": endpoint_id, **result})


@blueprint.get("/webhook_endpoints/<endpoint_id>/deliveries")
def deliveries(endpoint_id: str) -> Response:
    """List what an endpoint was sent, or is to be sent yet, the newest first."""
    rows = context().webhook_deliveries.list(principal().user_id, endpoint_id)
    return jsonify(paging.page([_view(row) for row in rows]))


@blueprint.post("/webhook_endpoints/<endpoint_id>/deliveries/<delivery_id>/resend")
def resend(endpoint_id: str, delivery_id: str) -> Response:
    """Deliver an event again, under the same id, from the schedule's beginning."""
    return jsonify(_view(context().webhook_deliveries.resend(principal().user_id, endpoint_id, delivery_id)))


def _view(row: WebhookDelivery) -> JsonObject:
    return {
        "id": row.id,
        "object": "webhook_delivery",
        "event_type": row.event_type,
        "response_id": row.response_id,
        "created_at": unix_seconds(row.created_ms),
        "tries": row.tries,
        "status_code": row.last_status,
        "last_error": row.last_error,
        "delivered_at": row.delivered_ms and unix_seconds(row.delivered_ms),
        "next_try_at": row.due_ms and unix_seconds(row.due_ms),
    }
