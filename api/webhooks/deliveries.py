"""Webhook deliveries: listed, sent again; and a test, which is sent once."""

import time
from collections.abc import Sequence
from http import HTTPStatus

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api.http.limits import Limits
from api.webhooks import endpoints
from shared.database import Database, now_ms
from shared.errors import ChatrelayError, Conflict, NotFound
from shared.models import WebhookDelivery, WebhookEndpoint
from shared.webhooks import events

MAX_LISTED = 1_000
"""How many deliveries are listed, the newest."""
TEST_SECONDS = 25.0
TEST_POLL_SECONDS = 0.1
DISABLED = "webhook_endpoint_disabled"


class WebhookNotReached(ChatrelayError):
    """The webhook's endpoint gave no answer."""

    status = HTTPStatus.BAD_GATEWAY
    code = "webhook_not_reached"


class WebhookDeliveries:
    """The deliveries to all endpoints; each call is for a user.

    Everything that makes us call an address counts as a submission: it must not be possible without a bound.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        """Keep what is needed."""
        self._database = database
        self._limits = limits

    def list(self, user_id: str, endpoint_id: str) -> Sequence[WebhookDelivery]:
        """Return what was sent to an endpoint, or is to be sent yet: the newest thousand, the oldest of them first.

        Raises:
            NotFound: as `endpoints.found`.
        """
        with self._database.read() as session:
            endpoint = endpoints.found(session, user_id, endpoint_id)
            newest = (WebhookDelivery.created_ms.desc(), WebhookDelivery.id.desc())
            query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id).order_by(*newest).limit(MAX_LISTED)
            return session.scalars(query).all()[::-1]

    def resend(self, user_id: str, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
        """Let an event be delivered again, under the same id, from the schedule's beginning.

        Raises:
            NotFound: as `endpoints.found`; or there is no such delivery.
            Conflict: the endpoint is disabled.
            RateLimited: this counts as a submission.
        """
        self._limits.check_submission(user_id)
        with self._database.write() as session:
            endpoint = _enabled(session, user_id, endpoint_id)
            row = session.get(WebhookDelivery, delivery_id)
            if row is None or row.endpoint_id != endpoint.id:
                raise NotFound(f"No delivery was found under the id '{delivery_id}'.", param="delivery_id")
            row.tries, row.due_ms, row.rung_ms, row.delivered_ms = 0, session.scalar(select(now_ms())), None, None
        return row

    def test(self, user_id: str, endpoint_id: str, event_type: str) -> int:
        """Send an event that belongs to no response, once, and wait for what the endpoint answers.

        Returns:
            the HTTP status of its answer.

        Raises:
            NotFound: as `endpoints.found`.
            Conflict: the endpoint is disabled.
            RateLimited: this counts as a submission.
            WebhookNotReached: there was no answer; the message says why.
        """
        self._limits.check_submission(user_id)
        with self._database.write() as session:
            endpoint = _enabled(session, user_id, endpoint_id)
            sent = events.delivery(endpoint.id, events.TEST_RESPONSE, event_type)
            session.add(sent)
        tried = self._wait_for_try(sent.id)
        if tried is None:
            self._withdraw(sent.id)
        if tried is None or tried.last_status is None:
            raise WebhookNotReached((tried and tried.last_error) or "No worker has sent it in time.")
        return tried.last_status

    def _wait_for_try(self, delivery_id: str) -> WebhookDelivery | None:
        until = time.monotonic() + TEST_SECONDS
        while (tried := self._tried(delivery_id)) is None and time.monotonic() < until:
            time.sleep(TEST_POLL_SECONDS)
        return tried

    def _tried(self, delivery_id: str) -> WebhookDelivery | None:
        """Return a delivery that was tried; None for one that was not yet."""
        with self._database.read() as session:
            row = session.get(WebhookDelivery, delivery_id)
        return None if row is None or (row.last_status is None and row.last_error is None) else row

    def _withdraw(self, delivery_id: str) -> None:
        with self._database.write() as session:
            session.execute(update(WebhookDelivery).where(WebhookDelivery.id == delivery_id).values(due_ms=None))


def _enabled(session: Session, user_id: str, endpoint_id: str) -> WebhookEndpoint:
    endpoint = endpoints.found(session, user_id, endpoint_id)
    if not endpoint.enabled:
        raise Conflict("The endpoint is disabled, since it said that it is gone; any change sets it going again.", code=DISABLED)
    return endpoint
