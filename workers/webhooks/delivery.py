"""Delivers webhooks: signed by Standard Webhooks, tried again for days, and never to a private address.

The signature is HMAC-SHA256 over `id.timestamp.body` (standardwebhooks.com, 1.0); the schedule is that specification's advice.
"""

import base64
import hashlib
import hmac
import random
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
import orjson
import structlog
from sqlalchemy import select, update
from yarl import URL

from shared.config import Settings
from shared.database import Database, now_ms
from shared.digits import digits
from shared.jobs.webhook_events import TEST_RESPONSE
from shared.models import WebhookDelivery, WebhookEndpoint
from shared.vault import SealBroken, Vault
from workers.loop import Loop
from workers.webhooks.public_addresses import Refused, callable_url, public_socket
from workers.webhooks.slots import Slots

AGAIN_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long after each failed try comes the next; after the last one it is given up: some three days."""
JITTER = 0.1
LEASE_SECONDS = 60
"""A try whose worker died is made again after this."""
ANSWER_SECONDS = 15.0
AT_ONCE = 8
"""Deliveries of one worker at a time: chat comes first."""
AT_ONCE_EACH = 4
"""And of one user, whose receivers may be slow, so that nobody else waits for them."""
READ_BYTES = 64 * 1024
GONE = 410
SLOW_DOWN = frozenset({429, 502, 503, 504})
MAX_AFTER_SECONDS = 86_400
MAX_AFTER_DIGITS = 9
SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
ERROR_CHARS = 500

_QUIET = {"synchronize_session": False}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Claim:
    """A delivery that is ours to try."""

    id: str
    tries: int
    event_type: str
    response_id: str
    created_ms: int
    endpoint_id: str
    url: str
    secrets: tuple[str, ...]


class Outcome(NamedTuple):
    """What came of a try: the status that was answered, or why none was; and when the receiver wants the next."""

    status: int | None
    error: str | None = None
    after_seconds: float = 0.0

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and self.status // 100 == 2


class Webhooks:
    """The deliveries of one worker process."""

    def __init__(self, config: Settings, database: Database, loop: Loop) -> None:
        """Prepare."""
        self._config = config
        self._database = database
        self._loop = loop
        self._vault = Vault(config.secret_key)
        self._slots = Slots(AT_ONCE, AT_ONCE_EACH)

    def deliver(self, delivery_id: str) -> None:
        """Try a delivery that is due; one that is not, or is nobody's any more, is left alone. Full: a sweep rings again.

        Raises:
            DatabaseUnavailable: it is tried again later.
        """
        owner = self._owner(delivery_id)
        if owner is None:
            return
        with self._slots.slot(owner) as is_there:
            claim = self._claim(delivery_id) if is_there else None
            if claim is not None:
                self._settle(claim, self._loop.run(self._post(claim)))

    def _owner(self, delivery_id: str) -> str | None:
        """Tell whose delivery it is."""
        whose = select(WebhookEndpoint.user_id).join(WebhookDelivery).where(WebhookDelivery.id == delivery_id)
        with self._database.read() as session:
            return session.scalar(whose)

    def _claim(self, delivery_id: str) -> Claim | None:
        """Take a delivery: its next try moves ahead, so that nobody else makes this one."""
        ours = (
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id, WebhookDelivery.due_ms <= now_ms())
            .values(due_ms=now_ms() + LEASE_SECONDS * 1000, tries=WebhookDelivery.tries + 1)
            .returning(WebhookDelivery)
        )
        with self._database.write() as session:
            delivery = session.scalar(ours, execution_options=_QUIET)
            endpoint = session.get(WebhookEndpoint, delivery.endpoint_id) if delivery else None
            if delivery is None or endpoint is None:
                return None
            if not endpoint.enabled:
                delivery.due_ms = None
                return None
            return Claim(
                id=delivery.id,
                tries=delivery.tries,
                event_type=delivery.event_type,
                response_id=delivery.response_id,
                created_ms=delivery.created_ms,
                endpoint_id=endpoint.id,
                url=endpoint.url,
                secrets=self._secrets(endpoint, session.scalar(select(now_ms())) or 0),
            )

    def _secrets(self, endpoint: WebhookEndpoint, moment_ms: int) -> tuple[str, ...]:
        """Open what signs now; none where SECRET_KEY has changed since."""
        sealed = [endpoint.secret]
        if endpoint.former_secret and (endpoint.former_until_ms or 0) > moment_ms:
            sealed.append(endpoint.former_secret)
        try:
            return tuple(self._vault.open(each) for each in sealed)
        except SealBroken:
            return ()

    async def _post(self, claim: Claim) -> Outcome:
        if not claim.secrets:
            return Outcome(None, "The signing secret cannot be read any more. Rotate it.")
        try:
            return await self._answered(claim, callable_url(claim.url, private=self._config.webhook_private))
        except Refused as refused:
            return Outcome(None, str(refused))
        except TimeoutError:
            return Outcome(None, f"No answer within {ANSWER_SECONDS:g} s.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(None, str(error.__cause__ if isinstance(error.__cause__, Refused) else error) or type(error).__name__)

    async def _answered(self, claim: Claim, url: URL) -> Outcome:
        body = payload(claim)
        makes_socket = None if self._config.webhook_private else public_socket
        connector = aiohttp.TCPConnector(socket_factory=makes_socket, use_dns_cache=False, force_close=True)
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        async with session:
            headers = signed(claim.secrets, claim.id, int(time.time()), body)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await response.content.read(READ_BYTES)
                return Outcome(response.status, after_seconds=_after_seconds(response))

    def _settle(self, claim: Claim, outcome: Outcome) -> None:
        """Write down what came of a try, unless somebody else has tried since."""
        values: dict[str, Any] = {"last_status": outcome.status, "last_error": _error(outcome)}
        if outcome.is_delivered:
            values |= {"due_ms": None, "delivered_ms": now_ms()}
        else:
            wait_seconds = None if claim.response_id == TEST_RESPONSE else _wait_seconds(claim.tries, outcome)
            values["due_ms"] = None if wait_seconds is None else now_ms() + int(wait_seconds * 1000)
        with self._database.write() as session:
            mine = WebhookDelivery.id == claim.id, WebhookDelivery.tries == claim.tries
            session.execute(update(WebhookDelivery).where(*mine).values(values), execution_options=_QUIET)
            if outcome.status == GONE:
                session.execute(update(WebhookEndpoint).where(WebhookEndpoint.id == claim.endpoint_id).values(enabled=False))
        what = {"delivery": claim.id, "tries": claim.tries, "status": outcome.status}
        if outcome.is_delivered:
            log.info("webhook.delivered", **what)
        else:
            log.warning("webhook.given_up" if values["due_ms"] is None else "webhook.put_off", **what, error=values["last_error"])


def payload(claim: Claim) -> bytes:
    """Write the event: it says which response ended and how, and nothing of what was said."""
    event = {"id": claim.id, "object": "event", "created_at": claim.created_ms // 1000, "type": claim.event_type}
    return orjson.dumps({**event, "data": {"id": claim.response_id}})


def signed(secrets: tuple[str, ...], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Make the headers: the event's id, the moment (s since 1970), and a signature for each secret."""
    told = b"%s.%d.%s" % (event_id.encode(), timestamp, body)
    signatures = [base64.b64encode(hmac.digest(_key(secret), told, hashlib.sha256)).decode() for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "Chatrelay-Webhooks",
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX))


def _wait_seconds(tries: int, outcome: Outcome) -> float | None:
    """Tell when to try again after so many tries; None: never."""
    if tries > len(AGAIN_SECONDS) or outcome.status == GONE:
        return None
    wait_seconds = AGAIN_SECONDS[tries - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 - jitter, no secret
    return max(wait_seconds, outcome.after_seconds if outcome.status in SLOW_DOWN else 0)


def _after_seconds(response: aiohttp.ClientResponse) -> float:
    seconds = digits(response.headers.get("Retry-After", ""), MAX_AFTER_DIGITS)
    return 0.0 if seconds is None else float(min(seconds, MAX_AFTER_SECONDS))


def _error(outcome: Outcome) -> str | None:
    if outcome.is_delivered:
        return None
    return (outcome.error or f"The receiver answered {outcome.status}.")[:ERROR_CHARS]
