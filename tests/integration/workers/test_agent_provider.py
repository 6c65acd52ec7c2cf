"""A worker's way to an agent, where the process that holds it hears nothing, says nothing, or dies; and where news are lost."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest

from dev.paths import ROOT
from dev.testing.stack import Redis, free_port, wait_until
from shared import keyspace, redis_clients
from shared.agents import presence, requests
from shared.agents.presence import Member, News, Seat
from shared.agents.requests import ANSWER_FIELDS, Ask, Outcome, Trouble
from shared.config import Settings
from workers.loop import Loop
from workers.providers.agent.provider import AgentProvider
from workers.providers.base import AgentPosition, Chunk, CompletionRequest, ProviderError

WORKER = "worker_1"
QUESTION = CompletionRequest("agent", [{"role": "user", "content": "Hello"}])
ANSWER = {**dict.fromkeys(ANSWER_FIELDS, ""), "response_id": "r", "conversation_id": "c", "content": "Hi"}
KNOWN = CompletionRequest(
    "agent", QUESTION.messages, position=AgentPosition({"agent": "a", "conversation_id": "c", "response_id": "r"})
)

Behaviour = Callable[["Office", str, Ask], None]


class Office:
    """Stands for an API process: seats agents, takes mail, and does with each ask what it is told."""

    def __init__(self, redis: Redis, **agents_by_id: Behaviour | None) -> None:
        """Seat agents; None: nobody listens for that agent."""
        self.client = redis.client
        self.asked: list[tuple[str, Ask]] = []
        self._threads: list[threading.Thread] = []
        self._pubsub = self.client.pubsub(ignore_subscribe_messages=True)
        self._behaviours = agents_by_id
        for agent_id, behaviour in agents_by_id.items():
            seat = Seat(f"api_{agent_id}", agent_id, 0)
            self.client.execute_command(*presence.join_command(Member(agent_id, seat, 0)))
            self.client.persist(keyspace.agent_key(agent_id))
            if behaviour is not None:
                channel = keyspace.agent_mail_channel(seat.process)
                self._pubsub.subscribe(**{channel: self._take})
                self._pubsub.get_message(timeout=5)
        if any(agents_by_id.values()):
            self._threads.append(self._pubsub.run_in_thread(sleep_time=0.01, daemon=True))

    def _take(self, message: dict[str, Any]) -> None:
        ask = requests.letter(message["data"])
        assert isinstance(ask, Ask)
        agent_id = ask.connection
        self.asked.append((agent_id, ask))
        behaviour = self._behaviours[agent_id]
        assert behaviour is not None
        behaviour(self, agent_id, ask)

    def accept(self, agent_id: str, ask: Ask) -> None:
        self.client.execute_command(*presence.accept_command(agent_id, ask.id, ask.worker, 60_000))

    def settle(self, agent_id: str, ask: Ask, outcome: Outcome) -> None:
        self.client.execute_command(*presence.settle_command(agent_id, ask.id, ask.worker, outcome.packed()))

    def leave(self, agent_id: str) -> None:
        self.client.execute_command(*presence.leave_command(agent_id, agent_id))

    def busy(self, agent_id: str) -> bool:
        return bool(self.client.exists(keyspace.agent_busy_key(agent_id)))

    def close(self) -> None:
        for thread in self._threads:
            thread.stop()  # type: ignore[attr-defined]  # redis-py's own kind of thread
            thread.join()
        self._pubsub.close()


def answering(office: Office, agent_id: str, ask: Ask) -> None:
    office.accept(agent_id, ask)
    office.settle(agent_id, ask, Outcome(answer=ANSWER))


def ignoring(*_: Any) -> None:
    """Hear an ask, and do nothing."""


def accepting(office: Office, agent_id: str, ask: Ask) -> None:
    office.accept(agent_id, ask)


def refusing(office: Office, agent_id: str, ask: Ask) -> None:
    office.client.publish(keyspace.agent_news_channel(ask.worker), presence.news(News.REFUSED, ask.id))


def dying(office: Office, agent_id: str, ask: Ask) -> None:
    office.accept(agent_id, ask)
    office.leave(agent_id)


def failing(trouble: Trouble, *, has_left: bool = False) -> Behaviour:
    def fail(office: Office, agent_id: str, ask: Ask) -> None:
        office.accept(agent_id, ask)
        if trouble is Trouble.PING_FAILED:
            office.leave(agent_id)
        details = {"err": "why"} if trouble is Trouble.READ_FAILED else {}
        office.settle(agent_id, ask, Outcome(trouble=trouble, message="It failed.", details=details, has_left=has_left))

    return fail


class Desk:
    """A worker's loop with the provider on it."""

    def __init__(self, config: Settings) -> None:
        self.loop = Loop()
        self.loop.run(self._build(config))

    async def _build(self, config: Settings) -> None:
        self._client = redis_clients.nonblocking(config.redis_url)
        self.provider = AgentProvider(self._client, config, WORKER)

    def listen(self, redis: Redis) -> None:
        self.loop.start(self.provider.listen())
        channel = keyspace.agent_news_channel(WORKER)
        wait_until(lambda: redis.client.pubsub_numsub(channel)[0][1], "the provider to listen")

    def answer(self, question: CompletionRequest = QUESTION) -> list[Chunk]:
        return self.loop.run(self._answer(question))

    async def _answer(self, question: CompletionRequest) -> list[Chunk]:
        async with aclosing(self.provider.answer(question)) as pieces:
            return [piece async for piece in pieces]

    def trouble(self, question: CompletionRequest = QUESTION) -> ProviderError:
        with pytest.raises(ProviderError) as raised:
            self.answer(question)
        return raised.value

    async def tasks(self) -> int:
        return len(asyncio.all_tasks())

    def close(self) -> None:
        self.loop.run(self._client.aclose())
        self.loop.stop()


@pytest.fixture
def settings(config: Settings) -> Settings:
    short = {"agent_ping_seconds": 0.5, "agent_answer_seconds": 2, "agent_wait_seconds": 3, "stall_seconds": 4}
    return config.model_copy(update=short)


@pytest.fixture
def desk(settings: Settings, empty_redis: Redis) -> Iterator[Desk]:
    made = Desk(settings)
    made.listen(empty_redis)
    yield made
    assert made.provider.news._waiting == {}
    made.close()


@contextmanager
def office(redis: Redis, **behaviours: Behaviour | None) -> Iterator[Office]:
    opened = Office(redis, **behaviours)
    try:
        yield opened
    finally:
        opened.close()


def test_an_answer(desk: Desk, empty_redis: Redis) -> None:
    with office(empty_redis, a=answering) as opened:
        (piece,) = desk.answer()
    origin = {"agent": "a", "id": "", "response_id": "r", "conversation_id": "c", "error": ""}
    assert piece == Chunk({"content": "Hi"}, "stop", None, origin)
    (_, ask) = opened.asked[0]
    assert ask.opens
    assert ask.request["content"] == "Hello"
    assert not opened.busy("a")


def test_nobody_is_there(desk: Desk) -> None:
    assert (desk.trouble().reason, desk.trouble(KNOWN).reason) == (Trouble.NONE, Trouble.GONE)


@pytest.mark.parametrize("unreachable", [None, ignoring, refusing], ids=["nobody hears", "nobody accepts", "refused"])
def test_an_agent_that_cannot_be_reached_is_passed_over(desk: Desk, empty_redis: Redis, unreachable: Behaviour | None) -> None:
    with office(empty_redis, a=unreachable, b=answering) as opened:
        assert desk.answer()[-1].origin["agent"] == "b"  # type: ignore[index]  # it is there
        assert not opened.busy("a")


@pytest.mark.parametrize("unreachable", [None, refusing], ids=["nobody hears", "refused"])
def test_an_agent_that_cannot_be_reached_at_all(desk: Desk, empty_redis: Redis, unreachable: Behaviour | None) -> None:
    with office(empty_redis, a=unreachable):
        for question, code in ((QUESTION, Trouble.NONE), (KNOWN, Trouble.PING_FAILED)):
            error = desk.trouble(question)
            assert (error.reason, error.retryable) == (code, False)


def test_an_agent_that_is_reached_later_is_waited_for(desk: Desk, empty_redis: Redis) -> None:
    times = iter([refusing, refusing, answering])

    def at_last(*how: Any) -> None:
        next(times)(*how)

    with office(empty_redis, a=at_last) as opened:
        assert desk.answer(KNOWN)[-1].finish_reason == "stop"
    assert len(opened.asked) == 3
    assert not opened.asked[0][1].opens


def test_lost_news(settings: Settings, empty_redis: Redis) -> None:
    # Given a provider that hears nothing, its ask is put once, and its outcome found
    desk = Desk(settings)
    with office(empty_redis, a=answering) as opened:
        assert desk.answer()[-1].delta == {"content": "Hi"}
        assert len(opened.asked) == 1

    def slowly(office: Office, agent_id: str, ask: Ask) -> None:
        office.accept(agent_id, ask)
        threading.Timer(2.5, office.settle, (agent_id, ask, Outcome(answer=ANSWER))).start()

    with office(empty_redis, a=slowly) as opened:
        assert desk.answer()[-1].delta == {"content": "Hi"}
        assert len(opened.asked) == 1
    desk.close()


def test_a_process_that_dies_with_an_ask(desk: Desk, empty_redis: Redis) -> None:
    with office(empty_redis, a=dying, b=answering):
        assert desk.answer()[-1].origin["agent"] == "b"  # type: ignore[index]  # it is there
    for question in (QUESTION, KNOWN):
        empty_redis.client.flushall()
        with office(empty_redis, a=dying):
            error = desk.trouble(question)
            assert error.reason == Trouble.READ_FAILED
            assert error.details == {"err": "the connection of the agent is gone"}


def test_a_process_that_never_tells(desk: Desk, empty_redis: Redis) -> None:
    with office(empty_redis, a=accepting):
        error = desk.trouble()
    assert error.reason == Trouble.READ_FAILED
    assert error.details["err"].startswith("i/o timeout")


@pytest.mark.parametrize("trouble", [Trouble.PING_FAILED, Trouble.READ_FAILED])
def test_another_is_asked_in_place_of_one_that_fails(desk: Desk, empty_redis: Redis, trouble: Trouble) -> None:
    with office(empty_redis, a=failing(trouble, has_left=trouble is Trouble.READ_FAILED), b=answering):
        assert desk.answer()[-1].origin["agent"] == "b"  # type: ignore[index]  # it is there


@pytest.mark.parametrize("trouble", [Trouble.READ_FAILED, Trouble.WRONG_REPLY, Trouble.BAD_ANSWER])
def test_an_agent_that_fails_and_stays_has_answered(desk: Desk, empty_redis: Redis, trouble: Trouble) -> None:
    with office(empty_redis, a=failing(trouble), b=answering) as opened:
        error = desk.trouble()
    assert (error.reason, error.message, error.retryable) == (trouble, "It failed.", False)
    assert error.fields() == {"code": trouble, "message": "It failed.", **error.details}
    assert len(opened.asked) == 1


@pytest.mark.parametrize("trouble", [Trouble.PING_FAILED, Trouble.READ_FAILED])
def test_nobody_else_is_asked_in_a_known_conversation(desk: Desk, empty_redis: Redis, trouble: Trouble) -> None:
    with office(empty_redis, a=failing(trouble, has_left=True), b=answering) as opened:
        assert desk.trouble(KNOWN).reason == trouble
    assert [agent_id for agent_id, _ in opened.asked] == ["a"]


def test_three_pings_are_enough(desk: Desk, empty_redis: Redis) -> None:
    deaf = failing(Trouble.PING_FAILED)
    with office(empty_redis, a=deaf, b=deaf, c=deaf, d=answering) as opened:
        assert desk.trouble().reason == Trouble.PING_FAILED
        assert desk.answer()[-1].finish_reason == "stop"
    assert [agent_id for agent_id, _ in opened.asked] == ["a", "b", "c", "d"]


def test_while_there_is_nothing_to_say_there_are_signs_of_life(desk: Desk, empty_redis: Redis) -> None:
    with office(empty_redis, a=accepting) as opened:
        opened.client.set(keyspace.agent_busy_key("a"), "another ask", px=2_500)
        threading.Timer(3.5, lambda: opened.settle("a", opened.asked[0][1], Outcome(answer=ANSWER))).start()
        *signs, answer = desk.answer()
    assert set(signs) == {Chunk()}
    assert len(signs) >= 3
    assert answer.finish_reason == "stop"


def test_who_hangs_up_leaves_nothing_behind(desk: Desk, empty_redis: Redis) -> None:
    async def hang_up() -> None:
        async with aclosing(desk.provider.answer(QUESTION)) as pieces:
            await anext(pieces)

    before = desk.loop.run(desk.tasks())
    # While no agent is idle
    with office(empty_redis, a=accepting) as opened:
        opened.client.set(keyspace.agent_busy_key("a"), "another ask")
        desk.loop.run(hang_up())
        assert desk.loop.run(desk.tasks()) == before
        opened.client.delete(keyspace.agent_busy_key("a"))

        # While an agent is at it: it is free when it is done, and its answer is nobody's
        desk.loop.run(hang_up())
        assert desk.loop.run(desk.tasks()) == before
        assert opened.busy("a")
        opened.settle("a", opened.asked[0][1], Outcome(answer={**ANSWER, "content": "old"}))
    with office(empty_redis, a=answering):
        assert desk.answer()[-1].delta == {"content": "Hi"}


def test_first_come_first_served(desk: Desk, empty_redis: Redis) -> None:
    served: list[str] = []

    def serve(office: Office, agent_id: str, ask: Ask) -> None:
        served.append(ask.request["content"])
        office.accept(agent_id, ask)
        threading.Timer(0.1, office.settle, (agent_id, ask, Outcome(answer=ANSWER))).start()

    async def ask_all() -> None:
        async def one(number: int) -> None:
            question = CompletionRequest("agent", [{"role": "user", "content": str(number)}])
            async with aclosing(desk.provider.answer(question)) as pieces:
                assert [piece async for piece in pieces][-1].finish_reason == "stop"

        await asyncio.gather(*map(one, range(8)))

    with office(empty_redis, a=serve):
        desk.loop.run(ask_all())
    assert served == [str(number) for number in range(8)]


def test_redis_is_away(settings: Settings) -> None:
    desk = Desk(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
    error = desk.trouble()
    assert (error.reason, error.retryable) == (Trouble.UNREACHABLE, True)
    desk.close()


def test_every_trouble_is_in_the_protocol() -> None:
    protocol = (ROOT / "docs" / "protocol.md").read_text()
    assert [trouble.value for trouble in Trouble if f"`{trouble.value}`" not in protocol] == []
