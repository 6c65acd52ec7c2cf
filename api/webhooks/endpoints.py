"""Webhook endpoints: created, found, changed, removed; their secrets rotated."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.auth import api_tokens
from shared.config import Settings
from shared.database import Database, now_ms
from shared.errors import InvalidRequest, NotFound
from shared.ids import WEBHOOK_ENDPOINT, new_id
from shared.models import User, WebhookEndpoint
from shared.security.vault import Vault
from shared.timestamps import DAY_MS
from shared.webhooks import addresses, signing_secrets

MAX_ENDPOINTS = 20
"""How many endpoints a user may have."""
ROTATION_MS = DAY_MS
"""For how long the former secret goes on signing, if that is requested."""


class WebhookEndpoints:
    """The webhook endpoints of all users; each call is for one of them."""

    def __init__(self, config: Settings, database: Database) -> None:
        """Keep the database, and make the vault that seals secrets."""
        self._database = database
        self._vault = Vault(config.secret_key)
        self._allows_private = config.webhook_private

    def create(self, user_id: str, *, name: str, url: str, event_types: Sequence[str]) -> tuple[WebhookEndpoint, str]:
        """Create an endpoint.

        Returns:
            its row, and its secret, which cannot be read again.

        Raises:
            InvalidRequest: the address may not be called, or the user has as many as are allowed.
        """
        self._check_url(url)
        endpoint = WebhookEndpoint(
            id=new_id(WEBHOOK_ENDPOINT), user_id=user_id, name=name, url=url, event_types=_sorted(event_types)
        )
        secret = self._set_new_secret(endpoint)
        with self._database.write() as session:
            _check_count(session, user_id)
            session.add(endpoint)
            session.flush()
            session.refresh(endpoint)
        return endpoint, secret

    def list(self, user_id: str) -> Sequence[WebhookEndpoint]:
        """Return a user's endpoints, the oldest first."""
        query = select(WebhookEndpoint).where(WebhookEndpoint.user_id == user_id)
        with self._database.read() as session:
            return session.scalars(query.order_by(WebhookEndpoint.created_ms, WebhookEndpoint.id)).all()

    def find(self, user_id: str, endpoint_id: str) -> WebhookEndpoint:
        """Return a user's endpoint.

        Raises:
            NotFound: as `found`.
        """
        with self._database.read() as session:
            return found(session, user_id, endpoint_id)

    def change(
        self,
        user_id: str,
        endpoint_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
    ) -> WebhookEndpoint:
        """Change what is given of an endpoint. Any change enables one that was disabled.

        Raises:
            InvalidRequest: the address may not be called.
            NotFound: as `found`.
        """
        if url is not None:
            self._check_url(url)
        with self._database.write() as session:
            endpoint = found(session, user_id, endpoint_id)
            endpoint.name = name or endpoint.name
            endpoint.url = url or endpoint.url
            endpoint.event_types = _sorted(event_types) if event_types else endpoint.event_types
            endpoint.enabled = True
            _touch(session, endpoint)
        return endpoint

    def remove(self, user_id: str, endpoint_id: str) -> None:
        """Remove an endpoint, with its deliveries.

        Raises:
            NotFound: as `found`.
        """
        with self._database.write() as session:
            session.delete(found(session, user_id, endpoint_id))

    def rotate_secret(self, user_id: str, endpoint_id: str, *, keep_former: bool) -> tuple[WebhookEndpoint, str]:
        """Give an endpoint a new secret; with `keep_former` the former one goes on signing, too, for a day.

        Returns:
            its row, and the new secret, which cannot be read again.

        Raises:
            NotFound: as `found`.
        """
        with self._database.write() as session:
            endpoint = found(session, user_id, endpoint_id)
            endpoint.former_secret = endpoint.secret if keep_former else None
            endpoint.former_until_ms = (session.scalar(select(now_ms())) or 0) + ROTATION_MS if keep_former else None
            secret = self._set_new_secret(endpoint)
            _touch(session, endpoint)
        return endpoint, secret

    def _set_new_secret(self, endpoint: WebhookEndpoint) -> str:
        secret = signing_secrets.new_secret()
        endpoint.secret, endpoint.secret_hint = self._vault.seal(secret), api_tokens.masked(secret)
        return secret

    def _check_url(self, url: str) -> None:
        try:
            addresses.callable_url(url, private=self._allows_private)
        except ValueError:
            raise InvalidRequest("url must be an https address with a host, and without credentials.", param="url") from None


def found(session: Session, user_id: str, endpoint_id: str) -> WebhookEndpoint:
    """Return a user's endpoint, in a transaction of the caller's.

    Raises:
        NotFound: there is none, or it is somebody else's; the two answer alike.
    """
    own = WebhookEndpoint.id == endpoint_id, WebhookEndpoint.user_id == user_id
    endpoint = session.scalar(select(WebhookEndpoint).where(*own))
    if endpoint is None:
        raise NotFound(f"No webhook endpoint was found under the id '{endpoint_id}'.", param="webhook_endpoint_id")
    return endpoint


def _check_count(session: Session, user_id: str) -> None:
    session.get(User, user_id, with_for_update={"key_share": True})  # one after another
    count = session.scalar(select(func.count()).select_from(WebhookEndpoint).where(WebhookEndpoint.user_id == user_id))
    if (count or 0) >= MAX_ENDPOINTS:
        raise InvalidRequest(f"You have {MAX_ENDPOINTS} webhook endpoints already.", code="too_many_webhook_endpoints")


def _sorted(event_types: Sequence[str]) -> list[str]:
    return sorted(set(event_types))


def _touch(session: Session, endpoint: WebhookEndpoint) -> None:
    endpoint.updated_ms = session.scalar(select(now_ms())) or endpoint.updated_ms
