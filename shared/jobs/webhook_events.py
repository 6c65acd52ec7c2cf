"""Who is to be told of what: event types, and the deliveries that the end of a response makes, in its own transaction."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.database import now_ms
from shared.ids import new_id
from shared.models import Job, ObjectType, Status, WebhookDelivery, WebhookEndpoint

TEST_RESPONSE = "resp_test"
"""What a test is about, which is sent once."""
EVENT_TYPES = tuple(f"response.{status.value}" for status in Status if status.is_terminal)


def note_end(session: Session, job: Job, status: Status) -> None:
    """Make the deliveries that tell of a response's end: one for each endpoint that wants to hear of it.

    Only responses in the background are told of: whoever asked in the foreground is there.
    """
    if job.wire is not ObjectType.RESPONSE or not (job.wire_request or {}).get("background"):
        return
    wanted = select(WebhookEndpoint).where(WebhookEndpoint.user_id == job.user_id, WebhookEndpoint.enabled)
    for endpoint in session.scalars(wanted):
        if f"response.{status.value}" in endpoint.event_types:
            session.add(delivery(endpoint.id, "resp_" + job.id.partition("_")[2], f"response.{status.value}"))


def delivery(endpoint_id: str, response_id: str, event_type: str) -> WebhookDelivery:
    """Make a delivery that is due at once."""
    made = WebhookDelivery(id=new_id("evt"), endpoint_id=endpoint_id, response_id=response_id, event_type=event_type)
    made.due_ms = now_ms()  # the database's clock, read by the INSERT
    return made
