"""Deliveries in the database: made with the end of a response, tried once however often they are rung for."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from dev.testing.stack import wait_until
from shared import events
from shared.config import Settings
from shared.database import now_ms
from shared.ids import new_id
from shared.jobs import ending
from shared.models import Job, ObjectType, Status, WebhookDelivery, WebhookEndpoint
from shared.security.vault import Vault
from shared.webhooks.events import TEST_RESPONSE, delivery
from tests.integration.entries import begun
from tests.integration.jobs import Jobs
from workers.loop import Loop
from workers.webhooks.post import ClaimedDelivery, DeliveryResult, WebhookClient
from workers.webhooks.sender import MAX_AT_ONCE, MAX_AT_ONCE_EACH, WebhookSender

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
RINGS = 8
POLL_SECONDS = 0.01


def endpoint(jobs: Jobs, config: Settings, user_id: str, *types: str) -> str:
    sealed = Vault(config.secret_key).seal(SECRET)
    row = WebhookEndpoint(id=new_id("whe"), user_id=user_id, name="x", url="https://a.example", secret=sealed, secret_hint="x")
    row.event_types = list(types or ("response.completed",))
    with jobs.database.write() as session:
        session.add(row)
    return row.id


def made(jobs: Jobs) -> list[WebhookDelivery]:
    with jobs.database.read() as session:
        return list(session.scalars(select(WebhookDelivery)))


def end(jobs: Jobs, job: Job) -> None:
    with jobs.database.write() as session:
        assert ending.end_held(session, job.id, job.attempt, begun(2), ending.Ending(Status.COMPLETED, "stop"), [])


@pytest.mark.parametrize(
    ("wire", "asked", "types", "count"),
    [
        (ObjectType.RESPONSE, {"background": True}, ("response.completed",), 1),
        (ObjectType.RESPONSE, {"background": True}, ("response.failed",), 0),
        (ObjectType.RESPONSE, {"background": False}, ("response.completed",), 0),
        (ObjectType.JOB, None, ("response.completed",), 0),
    ],
)
def test_the_end_of_a_response_makes_its_deliveries(
    jobs: Jobs, config: Settings, wire: ObjectType, asked: dict[str, bool] | None, types: tuple[str, ...], count: int
) -> None:
    job = jobs.claimed(wire=wire, wire_request=asked)
    endpoint(jobs, config, job.user_id, *types)
    endpoint(jobs, config, jobs.user(), *types)  # somebody else's
    end(jobs, job)
    assert [each.event_type for each in made(jobs)] == [f"response.{events.COMPLETED}"] * count
    assert all(each.response_id == job.id.replace("job_", "resp_") for each in made(jobs))


class Receivers(WebhookClient):
    """Stands for all receivers: keeps what is posted, and answers with a status once it may."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(private=False)
        self.posted: list[ClaimedDelivery] = []
        self.status = status
        self.may_answer = threading.Event()
        self.may_answer.set()

    async def post(self, delivery: ClaimedDelivery) -> DeliveryResult:
        self.posted.append(delivery)
        while not self.may_answer.is_set():
            await asyncio.sleep(POLL_SECONDS)
        return DeliveryResult(self.status)


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture
def receivers() -> Receivers:
    return Receivers()


@pytest.fixture
def sender(jobs: Jobs, config: Settings, loop: Loop, receivers: Receivers) -> WebhookSender:
    return WebhookSender(jobs.database, Vault(config.secret_key), loop, receivers)


def due(jobs: Jobs, config: Settings) -> str:
    row = delivery(endpoint(jobs, config, jobs.user()), "resp_1", "response.completed")
    with jobs.database.write() as session:
        session.add(row)
    return row.id


def test_a_message_that_comes_often_tries_once(jobs: Jobs, config: Settings, sender: WebhookSender, receivers: Receivers) -> None:
    delivery_id = due(jobs, config)
    with ThreadPoolExecutor(RINGS) as threads:
        list(threads.map(sender.send, [delivery_id] * RINGS))
    assert [each.secrets for each in receivers.posted] == [(SECRET,)]
    (row,) = made(jobs)
    assert (row.tries, row.due_ms, row.last_status) == (1, None, 200)
    assert row.delivered_ms


def test_a_test_is_sent_once(jobs: Jobs, config: Settings, sender: WebhookSender, receivers: Receivers) -> None:
    receivers.status = 500
    row = delivery(endpoint(jobs, config, jobs.user()), TEST_RESPONSE, "response.completed")
    with jobs.database.write() as session:
        session.add(row)
    sender.send(row.id)
    (row,) = made(jobs)
    assert (row.tries, row.due_ms, row.last_status) == (1, None, 500)


def test_one_users_slow_receivers_keep_nobody_waiting(
    jobs: Jobs, config: Settings, sender: WebhookSender, receivers: Receivers
) -> None:
    receivers.may_answer.clear()
    slow = endpoint(jobs, config, jobs.user())
    rows = [delivery(slow, f"resp_{number}", "response.completed") for number in range(MAX_AT_ONCE)]
    with jobs.database.write() as session:
        session.add_all(rows)
    with ThreadPoolExecutor(MAX_AT_ONCE + 1) as threads:
        tried = [threads.submit(sender.send, row.id) for row in rows]
        wait_until(lambda: len(receivers.posted) == MAX_AT_ONCE_EACH, "the slow one's slots to be taken")
        threads.submit(sender.send, due(jobs, config))
        wait_until(lambda: len(receivers.posted) == MAX_AT_ONCE_EACH + 1, "another's to be tried")
        receivers.may_answer.set()
        wait_until(lambda: all(each.done() for each in tried), "all to be over")
    assert len(receivers.posted) == MAX_AT_ONCE_EACH + 1  # a sweep rings again for the others
    posted = {each.id for each in receivers.posted}
    left = next(row.id for row in rows if row.id not in posted)
    sender.send(left)
    assert receivers.posted[-1].id == left


def test_what_failed_is_not_due_before_its_time(jobs: Jobs, config: Settings, sender: WebhookSender, receivers: Receivers) -> None:
    receivers.status = 500
    delivery_id = due(jobs, config)
    sender.send(delivery_id)
    sender.send(delivery_id)
    assert len(receivers.posted) == 1
    (row,) = made(jobs)
    with jobs.database.read() as session:
        moment_ms = session.scalar(select(now_ms())) or 0
    assert row.due_ms is not None
    assert 0 < row.due_ms - moment_ms <= 5_500
    assert row.last_error == "The receiver answered 500."


def test_an_endpoint_that_is_gone_is_sent_nothing_more(
    jobs: Jobs, config: Settings, sender: WebhookSender, receivers: Receivers
) -> None:
    receivers.status = 410
    sender.send(due(jobs, config))
    (row,) = made(jobs)
    assert (row.due_ms, row.delivered_ms) == (None, None)
    with jobs.database.write() as session:
        assert not session.get_one(WebhookEndpoint, row.endpoint_id).enabled
        again = delivery(row.endpoint_id, "resp_2", "response.completed")
        session.add(again)
    sender.send(again.id)
    assert len(receivers.posted) == 1


def test_a_secret_that_cannot_be_read_is_said_so(jobs: Jobs, config: Settings, loop: Loop) -> None:
    other = config.model_copy(update={"secret_key": SecretStr("another secret key, of before it was changed")})
    row = delivery(endpoint(jobs, other, jobs.user()), "resp_1", "response.completed")
    with jobs.database.write() as session:
        session.add(row)
    WebhookSender(jobs.database, Vault(config.secret_key), loop, WebhookClient(private=False)).send(row.id)
    (row,) = made(jobs)
    assert row.last_error == "The signing secret cannot be read any more. Rotate it."
