"""Webhook events: their types, and the deliveries that a response's end makes, in its own transaction."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import ids
from shared.database import now_ms
from shared.models import Job, ObjectType, Status, WebhookDelivery, WebhookEndpoint

TEST_RESPONSE = "resp_test"
"""The response that a test names. A test is sent once."""
EVENT_TYPES = tuple(f"response.{status.value}" for status in Status if status.is_terminal)


def add_deliveries(session: Session, job: Job, status: Status) -> None:
    """Add the deliveries for a response's end: one for each endpoint of its user that wants this type of event.

    Only responses in the background have any: in the foreground the caller has been there all the time.
    """
    if not may_be_due(job):
        return
    enabled = select(WebhookEndpoint).where(WebhookEndpoint.user_id == job.user_id, WebhookEndpoint.enabled)
    event_type = f"response.{status.value}"
    for endpoint in session.scalars(enabled):
        if event_type in endpoint.event_types:
            session.add(delivery(endpoint.id, ids.with_prefix(ids.RESPONSE, job.id), event_type))


def may_be_due(job: Job) -> bool:
    """Return whether the end of a job is told to its user's webhooks, if they have any."""
    return job.wire is ObjectType.RESPONSE and bool((job.wire_request or {}).get("background"))


def delivery(endpoint_id: str, response_id: str, event_type: str) -> WebhookDelivery:
    """Return a new delivery that is due at once."""
    row = WebhookDelivery(id=ids.new_id(ids.WEBHOOK_EVENT), endpoint_id=endpoint_id, response_id=response_id, event_type=event_type)
    row.due_ms = now_ms()  # the database's clock, read by the INSERT
    return row
