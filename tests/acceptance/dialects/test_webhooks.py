"""Webhooks through the official SDK, delivered by real workers to a real receiver."""

import secrets
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.webhooks import WebhookEndpointWithSecret

from dev.servers.postgres_server import PostgresServer
from dev.testing.client import counted
from dev.testing.stack import SHORT_LEASES, wait_until
from tests.api.deployment import Deployment, deployed
from tests.openai_reader import sdk
from tests.receiver import Received, Receiver

QUICK = "demo?tokens=3&first_ms=0&gap_ms=0"
ALL: list[Any] = ["response.completed", "response.failed", "response.cancelled", "response.incomplete"]
AT_HOME = (
    *("https://127.0.0.1:1/hook", "https://localhost:1/hook", "https://[::1]:1/hook", "https://[::ffff:127.0.0.1]:1/hook"),
    *(
        "https://\uff11\uff12\uff17.0.0.1:1/hook",
        "https://127\u30020\u30020\u30021:1/hook",
        "https://\u2460\u2461\u2466.0.0.1:1/hook",
    ),
)
"""Ways to write an address of this machine. The last three are normal addresses once a client has normalized them."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Deployment]:
    """A stack whose operator lets webhooks go to private addresses: the receiver is on this machine."""
    folder = tmp_path_factory.mktemp("webhooks")
    with deployed(folder, postgres_server.create_database(), {**SHORT_LEASES, "WEBHOOK_PRIVATE": "on"}) as started:
        yield started


@pytest.fixture
def api(deployment: Deployment) -> Iterator[OpenAI]:
    with sdk_of(deployment) as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def endpoint(api: OpenAI, receiver: Receiver) -> WebhookEndpointWithSecret:
    return api.webhooks.create(name="here", url=receiver.url, event_types=ALL)


def new_response(api: OpenAI, model: str = QUICK) -> str:
    return api.responses.create(model=model, input=secrets.token_hex(8), background=True).id


def waited(receiver: Receiver, response_id: str, count: int = 1) -> list[Received]:
    wait_until(lambda: len(receiver.of(response_id)) >= count, f"{count} deliveries of {response_id}")
    return receiver.of(response_id)


def deliveries(api: OpenAI, endpoint_id: str) -> list[dict[str, Any]]:
    answer = api.get(f"/webhook_endpoints/{endpoint_id}/deliveries", cast_to=object)
    rows: list[dict[str, Any]] = answer["data"]  # type: ignore[index]
    return rows


def has_failed(api: OpenAI, endpoint_id: str, response_id: str) -> bool:
    return any(each["last_error"] for each in deliveries(api, endpoint_id) if each["response_id"] == response_id)


def sdk_of(deployment: Deployment) -> OpenAI:
    """A new user's SDK."""
    return sdk(deployment.url, deployment.user().token)


def test_every_end_is_delivered_once_and_signed(api: OpenAI, receiver: Receiver) -> None:
    # Given an endpoint, when responses end in each way
    webhook = endpoint(api, receiver)
    ids = {
        "response.completed": new_response(api),
        "response.incomplete": new_response(api, "demo?tokens=3&first_ms=0&finish=length"),
        "response.failed": new_response(api, "demo?fail=400&fail_times=9"),
        "response.cancelled": new_response(api, "demo?tokens=200&gap_ms=50"),
    }
    api.responses.cancel(ids["response.cancelled"])

    # Then each is delivered once, in a shape that the SDK accepts and without its text
    for kind, response_id in ids.items():
        (received,) = waited(receiver, response_id)
        event = api.webhooks.unwrap(received.body, received.headers, secret=webhook.signing_secret)
        assert event.type == kind
        assert api.responses.retrieve(response_id).status == kind.removeprefix("response.")
        assert counted(3).encode() not in received.body
    wait_until(lambda: all(each["delivered_at"] for each in deliveries(api, webhook.id)), "the log to say so")
    assert {each["tries"] for each in deliveries(api, webhook.id)} == {1}
    # And a response in the foreground is not delivered
    foreground = api.responses.create(model=QUICK, input="Hello").id
    assert receiver.of(foreground) == []


def test_a_failed_try_is_made_again_under_the_same_id(api: OpenAI, receiver: Receiver) -> None:
    webhook = endpoint(api, receiver)
    receiver.statuses = [500]
    first, second = waited(receiver, new_response(api), 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) >= int(first.headers["webhook-timestamp"]) + 4
    api.webhooks.unwrap(second.body, second.headers, secret=webhook.signing_secret)
    wait_until(lambda: deliveries(api, webhook.id)[0]["delivered_at"], "the log to say so")
    (row,) = deliveries(api, webhook.id)
    assert (row["tries"], row["status_code"], row["next_try_at"]) == (2, 200, None)


def test_an_event_can_be_sent_again(api: OpenAI, receiver: Receiver) -> None:
    webhook = endpoint(api, receiver)
    response_id = new_response(api)
    waited(receiver, response_id)
    wait_until(lambda: deliveries(api, webhook.id)[0]["delivered_at"], "the log to say so")
    (row,) = deliveries(api, webhook.id)
    api.post(f"/webhook_endpoints/{webhook.id}/deliveries/{row['id']}/resend", cast_to=object)
    first, second = waited(receiver, response_id, 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == row["id"]


@pytest.mark.parametrize("keep", [True, False])
def test_while_a_secret_rotates_both_are_good_where_that_is_wanted(api: OpenAI, receiver: Receiver, *, keep: bool) -> None:
    former = endpoint(api, receiver)
    rotated = api.webhooks.rotate_secret(former.id, keep_old_secret_active_for_24_hours=keep)
    assert rotated.signing_secret != former.signing_secret
    (received,) = waited(receiver, new_response(api))
    api.webhooks.unwrap(received.body, received.headers, secret=rotated.signing_secret)
    if keep:
        api.webhooks.unwrap(received.body, received.headers, secret=former.signing_secret)
    else:
        with pytest.raises(openai.InvalidWebhookSignatureError):
            api.webhooks.unwrap(received.body, received.headers, secret=former.signing_secret)


def test_a_receiver_that_is_gone_is_not_called_again(api: OpenAI, receiver: Receiver) -> None:
    webhook = endpoint(api, receiver)
    receiver.statuses = [410]
    waited(receiver, new_response(api))
    wait_until(lambda: not api.webhooks.retrieve(webhook.id).to_dict()["enabled"], "the endpoint to be disabled")
    later = new_response(api)
    wait_until(lambda: api.responses.retrieve(later).status == "completed", "the response to end")
    (row,) = deliveries(api, webhook.id)
    # What it is asked for meanwhile is refused at once
    with pytest.raises(openai.ConflictError) as refused:
        api.webhooks.test(webhook.id, event_type="response.completed")
    assert refused.value.code == "webhook_endpoint_disabled"
    with pytest.raises(openai.ConflictError):
        api.post(f"/webhook_endpoints/{webhook.id}/deliveries/{row['id']}/resend", cast_to=object)
    assert len(deliveries(api, webhook.id)) == 1
    assert api.webhooks.update(webhook.id, event_types=ALL).to_dict()["enabled"] is True


def test_a_redirect_is_a_failure_and_not_followed(api: OpenAI, receiver: Receiver) -> None:
    webhook = endpoint(api, receiver)
    receiver.statuses, receiver.headers = [302], {"Location": receiver.url}
    response_id = new_response(api)
    wait_until(lambda: [each["status_code"] for each in deliveries(api, webhook.id)] == [302], "the try to be written down")
    assert len(receiver.of(response_id)) == 1


def test_a_worker_that_dies_over_a_delivery_costs_a_minute_and_no_event(
    deployment: Deployment, api: OpenAI, receiver: Receiver
) -> None:
    # Given a delivery that is under way
    webhook = endpoint(api, receiver)
    receiver.hold.clear()
    response_id = new_response(api)
    waited(receiver, response_id)

    # When its worker is killed
    for worker in deployment.stack.workers:
        worker.kill()
    receiver.hold.set()
    deployment.stack.start_worker()

    # Then the try is still ours for a minute, and is then made again (the minute is not waited for here)
    (row,) = deliveries(api, webhook.id)
    assert (row["tries"], row["delivered_at"]) == (1, None)
    assert row["next_try_at"] > time.time() - 1
    api.post(f"/webhook_endpoints/{webhook.id}/deliveries/{row['id']}/resend", cast_to=object)
    first, second = waited(receiver, response_id, 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_endpoints_are_their_owners(deployment: Deployment, api: OpenAI, receiver: Receiver) -> None:
    webhook = endpoint(api, receiver)
    with sdk(deployment.url, deployment.user().token) as stranger:
        for reach in (
            lambda: stranger.webhooks.retrieve(webhook.id),
            lambda: stranger.webhooks.update(webhook.id, event_types=ALL),
            lambda: stranger.webhooks.delete(webhook.id),
            lambda: stranger.webhooks.rotate_secret(webhook.id),
            lambda: stranger.webhooks.test(webhook.id, event_type="response.completed"),
            lambda: deliveries(stranger, webhook.id),
        ):
            with pytest.raises(openai.NotFoundError):
                reach()
        theirs = new_response(stranger)
        wait_until(lambda: stranger.responses.retrieve(theirs).status == "completed", "the stranger's response to end")
        assert list(stranger.webhooks.list()) == []
    mine = new_response(api)
    waited(receiver, mine)
    assert receiver.of(theirs) == []


def test_an_endpoint_lives_and_ends(api: OpenAI, receiver: Receiver) -> None:
    webhook = endpoint(api, receiver)
    assert webhook.signing_secret.startswith("whsec_")
    shown = api.webhooks.retrieve(webhook.id)
    assert webhook.signing_secret not in str(shown)
    assert api.webhooks.update(webhook.id, event_types=ALL[:1], name="there").event_types == ["response.completed"]
    assert [each.id for each in api.webhooks.list()] == [webhook.id]
    tested = api.webhooks.test(webhook.id, event_type="response.completed")
    assert (tested.status_code, tested.success) == (200, True)
    assert set(api.webhooks.event_types.list().data) == set(ALL)
    assert api.webhooks.delete(webhook.id).deleted
    with pytest.raises(openai.NotFoundError):
        api.webhooks.retrieve(webhook.id)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "ftp://a.example"),
        ("url", "https://u:p@a.example"),
        *(
            ("url", url)
            for url in ("https://[::1", "https://a:99999/", "https://a:b/", "https://\u2100.example/", "https://a b.example/")
        ),
        ("url", ""),
        ("event_types", []),
        ("event_types", ["batch.failed"]),
        ("name", ""),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(api: OpenAI, field: str, value: Any) -> None:
    asked_for: dict[str, Any] = {"name": "here", "url": "https://a.example", "event_types": ALL, field: value}
    with pytest.raises(openai.BadRequestError) as refused:
        api.webhooks.create(**asked_for)
    assert str(refused.value.param).startswith(field)


def test_nobody_has_more_than_twenty(api: OpenAI) -> None:
    for _ in range(20):
        api.webhooks.create(name="x", url="https://a.example", event_types=ALL)
    with pytest.raises(openai.BadRequestError) as refused:
        api.webhooks.create(name="x", url="https://a.example", event_types=ALL)
    assert refused.value.code == "too_many_webhook_endpoints"


def test_private_addresses_are_not_called_unless_the_operator_allows_it(
    tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> None:
    folder = tmp_path_factory.mktemp("webhooks-public")
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", {"SWEEP_SECONDS": "0.5"}) as public, sdk_of(public) as api:
        with pytest.raises(openai.BadRequestError):
            endpoint(api, receiver)  # plain http
        for url in AT_HOME:
            made = api.webhooks.create(name="x", url=url, event_types=ALL)
            with pytest.raises(openai.InternalServerError, match="no public address") as refused:
                api.webhooks.test(made.id, event_type="response.completed")
            assert refused.value.response.headers["x-should-retry"] == "false"
        response_id = new_response(api)
        wait_until(partial(has_failed, api, made.id, response_id), "a try")
    assert receiver.received == []
