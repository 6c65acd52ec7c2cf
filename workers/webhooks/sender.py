"""Sends webhook deliveries that are due: claims one, lets it be posted, and writes down how that ended."""

from http import HTTPStatus
from typing import Any

import structlog
from sqlalchemy import select, update

from shared.database import Database, now_ms
from shared.models import WebhookDelivery, WebhookEndpoint
from shared.security.vault import SealBroken, Vault
from shared.webhooks.events import TEST_RESPONSE
from workers.loop import Loop
from workers.webhooks import schedule
from workers.webhooks.post import ClaimedDelivery, DeliveryResult, WebhookClient
from workers.webhooks.slots import Slots

CLAIM_SECONDS = 60
"""A try whose worker died is made again after this."""
MAX_AT_ONCE = 8
"""Deliveries of one worker at a time: chat comes first."""
MAX_AT_ONCE_EACH = 4
"""And of one user, whose receivers may be slow, so that nobody else waits for them."""

_QUIET = {"synchronize_session": False}

log = structlog.get_logger(__name__)


class WebhookSender:
    """Sends the deliveries of one worker process."""

    def __init__(self, database: Database, vault: Vault, loop: Loop, client: WebhookClient) -> None:
        """Keep what is needed: `vault` opens the secrets that sign, `client` posts on the loop."""
        self._database = database
        self._vault = vault
        self._loop = loop
        self._client = client
        self._slots = Slots(MAX_AT_ONCE, MAX_AT_ONCE_EACH)

    def send(self, delivery_id: str) -> None:
        """Try a delivery that is due; one that is not, or whose endpoint is gone, is left alone. Full: a sweep rings again.

        Raises:
            DatabaseUnavailable: it is tried again later.
        """
        user_id = self._user_id(delivery_id)
        if user_id is None:
            return
        with self._slots.slot(user_id) as is_taken:
            delivery = self._claim(delivery_id) if is_taken else None
            if delivery is not None:
                self._settle(delivery, self._loop.run(self._client.post(delivery)))

    def _user_id(self, delivery_id: str) -> str | None:
        query = select(WebhookEndpoint.user_id).join(WebhookDelivery).where(WebhookDelivery.id == delivery_id)
        with self._database.read() as session:
            return session.scalar(query)

    def _claim(self, delivery_id: str) -> ClaimedDelivery | None:
        """Claim a delivery: its next try moves ahead, so that no other worker makes this one."""
        claim = (
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id, WebhookDelivery.due_ms <= now_ms())
            .values(due_ms=now_ms() + CLAIM_SECONDS * 1000, tries=WebhookDelivery.tries + 1)
            .returning(WebhookDelivery)
        )
        with self._database.write() as session:
            row = session.scalar(claim, execution_options=_QUIET)
            endpoint = session.get(WebhookEndpoint, row.endpoint_id) if row else None
            if row is None or endpoint is None:
                return None
            if not endpoint.enabled:
                row.due_ms = None
                return None
            return ClaimedDelivery(
                id=row.id,
                tries=row.tries,
                event_type=row.event_type,
                response_id=row.response_id,
                created_ms=row.created_ms,
                endpoint_id=endpoint.id,
                url=endpoint.url,
                secrets=self._secrets(endpoint, session.scalar(select(now_ms())) or 0),
            )

    def _secrets(self, endpoint: WebhookEndpoint, moment_ms: int) -> tuple[str, ...]:
        """Return the secrets that sign at a moment; none where SECRET_KEY has changed since."""
        sealed = [endpoint.secret]
        if endpoint.former_secret and (endpoint.former_until_ms or 0) > moment_ms:
            sealed.append(endpoint.former_secret)
        try:
            return tuple(self._vault.open(each) for each in sealed)
        except SealBroken:
            return ()

    def _settle(self, delivery: ClaimedDelivery, result: DeliveryResult) -> None:
        """Write down how a try ended, unless another one was begun since."""
        values: dict[str, Any] = {"last_status": result.status, "last_error": result.error_text}
        if result.is_delivered:
            values |= {"due_ms": None, "delivered_ms": now_ms()}
        else:
            is_test = delivery.response_id == TEST_RESPONSE
            wait_seconds = None if is_test else schedule.wait_seconds(delivery.tries, result)
            values["due_ms"] = None if wait_seconds is None else now_ms() + int(wait_seconds * 1000)
        with self._database.write() as session:
            this_try = WebhookDelivery.id == delivery.id, WebhookDelivery.tries == delivery.tries
            session.execute(update(WebhookDelivery).where(*this_try).values(values), execution_options=_QUIET)
            if result.status == HTTPStatus.GONE:
                endpoint = update(WebhookEndpoint).where(WebhookEndpoint.id == delivery.endpoint_id)
                session.execute(endpoint.values(enabled=False))
        fields = {"delivery": delivery.id, "tries": delivery.tries, "status": result.status}
        if result.is_delivered:
            log.info("webhook.delivered", **fields)
        elif values["due_ms"] is None:
            log.warning("webhook.given_up", **fields, error=result.error_text)
        else:
            log.warning("webhook.retry_scheduled", **fields, error=result.error_text)
