"""One try at a delivery: an HTTP POST, signed by Standard Webhooks, and never to a private address.

The signature is HMAC-SHA256 over `id.timestamp.body` (standardwebhooks.com, 1.0).
"""

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

import aiohttp
import orjson
from yarl import URL

from shared.digits import digits
from shared.timestamps import unix_seconds
from shared.webhooks import signing_secrets
from shared.webhooks.addresses import callable_url
from workers.webhooks.public_addresses import AddressRefused, public_socket

ANSWER_SECONDS = 15.0
READ_BYTES = 64 * 1024
MAX_AFTER_SECONDS = 86_400
MAX_AFTER_DIGITS = 9
ERROR_CHARS = 500


@dataclass(frozen=True)
class ClaimedDelivery:
    """A delivery that this worker is to try, with all that a try needs. `tries` counts this one, too."""

    id: str
    tries: int
    event_type: str
    response_id: str
    created_ms: int
    endpoint_id: str
    url: str
    secrets: tuple[str, ...]


class DeliveryResult(NamedTuple):
    """How a try ended: the status of the receiver's answer, or why there was none; and how long the receiver wants us to wait."""

    status: int | None
    error: str | None = None
    retry_after_seconds: float = 0.0

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def error_text(self) -> str | None:
        """Why it was not delivered, for the owner of the endpoint."""
        return None if self.is_delivered else (self.error or f"The receiver answered {self.status}.")[:ERROR_CHARS]


class WebhookClient:
    """Posts deliveries to their receivers."""

    def __init__(self, *, private: bool) -> None:
        """Keep whether the operator allows private addresses, and plain http."""
        self._private = private

    async def post(self, delivery: ClaimedDelivery) -> DeliveryResult:
        """Try a delivery once."""
        if not delivery.secrets:
            return DeliveryResult(None, "The signing secret cannot be read any more. Rotate it.")
        try:
            return await self._send(delivery, callable_url(delivery.url, private=self._private))
        except AddressRefused as refused:
            return DeliveryResult(None, str(refused))
        except TimeoutError:
            return DeliveryResult(None, f"No answer within {ANSWER_SECONDS:g} s.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, AddressRefused) else error
            return DeliveryResult(None, str(cause) or type(error).__name__)

    async def _send(self, delivery: ClaimedDelivery, url: URL) -> DeliveryResult:
        body = payload(delivery)
        socket_factory = None if self._private else public_socket
        connector = aiohttp.TCPConnector(socket_factory=socket_factory, use_dns_cache=False, force_close=True)
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        async with session:
            headers = signed(delivery.secrets, delivery.id, int(time.time()), body)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await response.content.read(READ_BYTES)
                return DeliveryResult(response.status, retry_after_seconds=_retry_after_seconds(response))


def payload(delivery: ClaimedDelivery) -> bytes:
    """Write the event: it says which response ended and how, and nothing of its text."""
    event = {"id": delivery.id, "object": "event", "created_at": unix_seconds(delivery.created_ms), "type": delivery.event_type}
    return orjson.dumps({**event, "data": {"id": delivery.response_id}})


def signed(secrets: tuple[str, ...], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers: the event's id, the moment (s since 1970), and a signature for each secret."""
    content = b"%s.%d.%s" % (event_id.encode(), timestamp, body)
    digests = [hmac.digest(signing_secrets.key(secret), content, hashlib.sha256) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "Chatrelay-Webhooks",
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def _retry_after_seconds(response: aiohttp.ClientResponse) -> float:
    seconds = digits(response.headers.get("Retry-After", ""), MAX_AFTER_DIGITS)
    return 0.0 if seconds is None else float(min(seconds, MAX_AFTER_SECONDS))
