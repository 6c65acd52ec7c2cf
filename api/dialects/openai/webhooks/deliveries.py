"""What webhook endpoints were told: a test, the list of deliveries, and sending one again. The last two are our own."""

import time

from flask import Blueprint, Response, jsonify
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api.context import context
from api.dialects.openai import paging, wire
from api.dialects.openai.failures import NotReached
from api.dialects.openai.webhooks.endpoints import EventType, found
from api.guards import principal
from api.http.bodies import Body
from shared.database import now_ms
from shared.errors import Conflict, NotFound
from shared.jobs import webhook_events
from shared.json_types import JsonObject
from shared.models import WebhookDelivery, WebhookEndpoint

MAX_LISTED = 1_000
"""How many deliveries are listed, the newest."""
TEST_SECONDS = 25.0
TEST_POLL_SECONDS = 0.1
DISABLED = "webhook_endpoint_disabled"

blueprint = Blueprint("webhook_deliveries", __name__)


class Test(Body):
    """Which event to send for a test."""

    event_type: EventType


@blueprint.post("/webhook_endpoints/<endpoint_id>/test")
def test(endpoint_id: str) -> Response:
    """Send an event of no response, once, and tell what the endpoint answered.

    Raises:
        NotReached: it answered nothing; the message says why.
        Conflict: it is disabled.
        RateLimited: this counts as a submission.
    """
    body = wire.read(Test)
    _count()
    with context().database.write() as session:
        sent = webhook_events.delivery(_enabled(session, endpoint_id).id, webhook_events.TEST_RESPONSE, body.event_type)
        session.add(sent)
    until = time.monotonic() + TEST_SECONDS
    while (tried := _tried(sent.id)) is None and time.monotonic() < until:
        time.sleep(TEST_POLL_SECONDS)
    if tried is None:
        _withdraw(sent.id)
    if tried is None or tried.last_status is None:
        raise NotReached((tried and tried.last_error) or "No worker has sent it in time.")
    told = {"event_type": body.event_type, "status_code": tried.last_status, "success": True}
    return jsonify({"object": "webhook_endpoint.test", "webhook_endpoint_id": endpoint_id, **told})


def _tried(delivery_id: str) -> WebhookDelivery | None:
    """Look whether a test was tried."""
    with context().database.read() as session:
        row = session.get(WebhookDelivery, delivery_id)
    return None if row is None or (row.last_status is None and row.last_error is None) else row


def _withdraw(delivery_id: str) -> None:
    with context().database.write() as session:
        session.execute(update(WebhookDelivery).where(WebhookDelivery.id == delivery_id).values(due_ms=None))


def _count() -> None:
    """Whoever lets us call somebody must not be able to do it without a bound."""
    context().limits.check_submission(principal().user_id)


def _enabled(session: Session, endpoint_id: str) -> WebhookEndpoint:
    endpoint = found(session, endpoint_id)
    if not endpoint.enabled:
        raise Conflict("The endpoint is disabled, since it said that it is gone; any change sets it going again.", code=DISABLED)
    return endpoint


@blueprint.get("/webhook_endpoints/<endpoint_id>/deliveries")
def deliveries(endpoint_id: str) -> Response:
    """List what an endpoint was told, or is to be told yet, the newest first."""
    with context().database.read() as session:
        mine = WebhookDelivery.endpoint_id == found(session, endpoint_id).id
        newest = (WebhookDelivery.created_ms.desc(), WebhookDelivery.id.desc())
        rows = list(session.scalars(select(WebhookDelivery).where(mine).order_by(*newest).limit(MAX_LISTED)))
    return jsonify(paging.page([_told(row) for row in reversed(rows)]))


@blueprint.post("/webhook_endpoints/<endpoint_id>/deliveries/<delivery_id>/resend")
def resend(endpoint_id: str, delivery_id: str) -> Response:
    """Deliver an event again, under the same id, from the schedule's beginning.

    Raises:
        Conflict: the endpoint is disabled.
        RateLimited: this counts as a submission.
    """
    _count()
    with context().database.write() as session:
        endpoint = _enabled(session, endpoint_id)
        row = session.get(WebhookDelivery, delivery_id)
        if row is None or row.endpoint_id != endpoint.id:
            raise NotFound(f"No delivery was found under the id '{delivery_id}'.", param="delivery_id")
        row.tries, row.due_ms, row.rung_ms, row.delivered_ms = 0, session.scalar(select(now_ms())), None, None
    return jsonify(_told(row))


def _told(row: WebhookDelivery) -> JsonObject:
    return {
        "id": row.id,
        "object": "webhook_delivery",
        "event_type": row.event_type,
        "response_id": row.response_id,
        "created_at": row.created_ms // 1000,
        "tries": row.tries,
        "status_code": row.last_status,
        "last_error": row.last_error,
        "delivered_at": row.delivered_ms and row.delivered_ms // 1000,
        "next_try_at": row.due_ms and row.due_ms // 1000,
    }
