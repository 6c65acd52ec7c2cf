"""Webhooks as tables: signatures that the SDK accepts, the schedule, and which addresses are called."""

import socket
import time

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from workers.webhooks.post import ClaimedDelivery, DeliveryResult, payload, signed
from workers.webhooks.public_addresses import AddressRefused, is_public, public_socket
from workers.webhooks.schedule import RETRY_SECONDS, wait_seconds

SECRETS = ("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU=")
CLAIMED = ClaimedDelivery("evt_1", 1, "response.completed", "resp_1", 1_700_000_000_999, "whe_1", "https://a.example", SECRETS[:1])
SDK = OpenAI(api_key="k", base_url="http://nowhere/v1")


def test_the_sdk_accepts_what_was_signed() -> None:
    body = payload(CLAIMED)
    event = SDK.webhooks.unwrap(body, signed(SECRETS[:1], CLAIMED.id, int(time.time()), body), secret=SECRETS[0])
    assert (event.id, event.type, event.created_at) == ("evt_1", "response.completed", 1_700_000_000)
    assert event.data.id == "resp_1"  # type: ignore[union-attr]
    assert len(body) < 20_000


@pytest.mark.parametrize("secret", SECRETS)
def test_while_a_secret_rotates_both_are_good(secret: str) -> None:
    body = payload(CLAIMED)
    SDK.webhooks.unwrap(body, signed(SECRETS, CLAIMED.id, int(time.time()), body), secret=secret)


@pytest.mark.parametrize("wrong", ["body", "secret", "age"])
def test_what_was_tampered_with_is_not_accepted(wrong: str) -> None:
    body = payload(CLAIMED)
    headers = signed(SECRETS[:1], CLAIMED.id, int(time.time()) - (1_000 if wrong == "age" else 0), body)
    with pytest.raises((InvalidWebhookSignatureError, ValueError)):
        SDK.webhooks.unwrap(body + b" " if wrong == "body" else body, headers, secret=SECRETS[wrong == "secret"])


@pytest.mark.parametrize("tries", range(1, len(RETRY_SECONDS) + 1))
def test_each_failed_try_is_followed_by_another_after_the_schedules_wait(tries: int) -> None:
    seconds = wait_seconds(tries, DeliveryResult(500))
    assert seconds is not None
    assert RETRY_SECONDS[tries - 1] <= seconds <= 1.1 * RETRY_SECONDS[tries - 1]


def test_after_the_schedule_it_is_given_up_and_when_the_endpoint_is_gone() -> None:
    assert wait_seconds(len(RETRY_SECONDS) + 1, DeliveryResult(500)) is None
    assert wait_seconds(1, DeliveryResult(410)) is None


@pytest.mark.parametrize(("status", "after"), [(429, 900), (503, 900), (500, 6)])
def test_who_asks_for_time_gets_it(status: int, after: int) -> None:
    seconds = wait_seconds(1, DeliveryResult(status, retry_after_seconds=900.0))
    assert seconds is not None
    assert (seconds == after) if after == 900 else (seconds < after)


@pytest.mark.parametrize(
    ("status", "is_delivered"), [(200, True), (204, True), (299, True), (301, False), (404, False), (500, False), (None, False)]
)
def test_only_2xx_is_delivered(status: int | None, *, is_delivered: bool) -> None:
    assert DeliveryResult(status).is_delivered is is_delivered


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        *((address, False) for address in ("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254")),
        *((address, False) for address in ("100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1")),
        *((address, False) for address in ("::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1")),
        *(
            (address, False)
            for address in ("::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1")
        ),
        *((address, False) for address in ("fec0::1", "5f00::1", "192.88.99.1")),
        *((address, False) for address in ("192.0.0.8", "192.0.0.9", "192.0.2.1", "198.51.100.1", "203.0.113.1", "240.0.0.1")),
        *((address, False) for address in ("168.63.129.16", "::ffff:0:8.8.8.8", "2001::1", "3fff::1", "100::1", "fd00:ec2::254")),
        *((address, True) for address in ("168.63.129.17", "192.0.1.1", "8.8.8.8", "2001:4860:4860::8888", "2a00:1450::1")),
    ],
)
def test_only_public_addresses_are_public(address: str, *, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1%eth0"])
def test_no_socket_is_made_for_a_private_address(host: str) -> None:
    with pytest.raises(AddressRefused):
        public_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, 443)))


def test_a_socket_is_made_for_a_public_address() -> None:
    with public_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("93.184.215.14", 443))) as made:
        assert made.family is socket.AF_INET
