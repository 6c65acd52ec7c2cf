"""A worker's way to an agent, where its process receives nothing, sends nothing, or dies; and where notices are lost."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest

from dev.testing.stack import Redis, free_port, wait_until
from shared.agents import claims, presence, requests
from shared.agents.claims import RequestStatus
from shared.agents.presence import AgentLocation, ConnectedAgent
from shared.agents.requests import ANSWER_FIELDS, AgentRequest, AgentResult
from shared.config import Settings
from shared.models.error_codes import JobErrorCode
from shared.redis import keyspace, redis_clients
from workers.loop import Loop
from workers.providers.agent.provider import AgentProvider
from workers.providers.base import AgentPosition, Chunk, CompletionRequest, ProviderError

WORKER = "worker_1"
REQUEST = CompletionRequest("agent", [{"role": "user", "content": "Hello"}])
ANSWER = {**dict.fromkeys(ANSWER_FIELDS, ""), "response_id": "r", "conversation_id": "c", "content": "Hi"}
KNOWN = CompletionRequest(
    "agent", REQUEST.messages, position=AgentPosition({"agent": "a", "conversation_id": "c", "response_id": "r"})
)

Behaviour = Callable[["AgentProcess", str, AgentRequest], None]


class AgentProcess:
    """Stands for an API process: registers agents, and does with each request what its agent's behaviour says."""

    def __init__(self, redis: Redis, **agents_by_id: Behaviour | None) -> None:
        """Register agents; None: nobody listens for that agent."""
        self.client = redis.client
        self.requests: list[tuple[str, AgentRequest]] = []
        self._threads: list[threading.Thread] = []
        self._pubsub = self.client.pubsub(ignore_subscribe_messages=True)
        self._behaviours = agents_by_id
        for agent_id, behaviour in agents_by_id.items():
            location = AgentLocation(f"api_{agent_id}", agent_id, 0)
            self.client.execute_command(*presence.join_command(ConnectedAgent(agent_id, location, 0)))
            self.client.persist(keyspace.agent_key(agent_id))
            if behaviour is not None:
                channel = keyspace.agent_inbox_channel(location.process)
                self._pubsub.subscribe(**{channel: self._receive})
                self._pubsub.get_message(timeout=5)
        if any(agents_by_id.values()):
            self._threads.append(self._pubsub.run_in_thread(sleep_time=0.01, daemon=True))

    def _receive(self, message: dict[str, Any]) -> None:
        request = requests.read_message(message["data"])
        assert isinstance(request, AgentRequest)
        agent_id = request.connection
        self.requests.append((agent_id, request))
        behaviour = self._behaviours[agent_id]
        assert behaviour is not None
        behaviour(self, agent_id, request)

    def accept(self, agent_id: str, request: AgentRequest) -> None:
        self.client.execute_command(*claims.accept_command(agent_id, request.id, request.worker, 60_000))

    def finish(self, agent_id: str, request: AgentRequest, result: AgentResult) -> None:
        self.client.execute_command(*claims.finish_command(agent_id, request.id, request.worker, result.packed()))

    def leave(self, agent_id: str) -> None:
        self.client.execute_command(*presence.leave_command(agent_id, agent_id))

    def busy(self, agent_id: str) -> bool:
        return bool(self.client.exists(keyspace.agent_busy_key(agent_id)))

    def close(self) -> None:
        for thread in self._threads:
            thread.stop()  # type: ignore[attr-defined]  # redis-py's own kind of thread
            thread.join()
        self._pubsub.close()


def answering(process: AgentProcess, agent_id: str, request: AgentRequest) -> None:
    process.accept(agent_id, request)
    process.finish(agent_id, request, AgentResult(answer=ANSWER))


def ignoring(*_: Any) -> None:
    """Receive a request, and do nothing."""


def accepting(process: AgentProcess, agent_id: str, request: AgentRequest) -> None:
    process.accept(agent_id, request)


def refusing(process: AgentProcess, agent_id: str, request: AgentRequest) -> None:
    process.client.publish(keyspace.agent_notice_channel(request.worker), claims.write_status(RequestStatus.REFUSED, request.id))


def dying(process: AgentProcess, agent_id: str, request: AgentRequest) -> None:
    process.accept(agent_id, request)
    process.leave(agent_id)


def failing(error: JobErrorCode, *, has_left: bool = False) -> Behaviour:
    def fail(process: AgentProcess, agent_id: str, request: AgentRequest) -> None:
        process.accept(agent_id, request)
        if error is JobErrorCode.AGENT_PING_FAILED:
            process.leave(agent_id)
        details = {"err": "why"} if error is JobErrorCode.AGENT_READ_FAILED else {}
        process.finish(agent_id, request, AgentResult(error=error, message="It failed.", details=details, has_left=has_left))

    return fail


class Caller:
    """A worker's loop with the provider on it."""

    def __init__(self, config: Settings) -> None:
        self.loop = Loop()
        self.loop.run(self._build(config))

    async def _build(self, config: Settings) -> None:
        self._client = redis_clients.nonblocking(config.redis_url)
        self.provider = AgentProvider(self._client, config, WORKER)

    def listen(self, redis: Redis) -> None:
        self.loop.start(self.provider.listen())
        channel = keyspace.agent_notice_channel(WORKER)
        wait_until(lambda: redis.client.pubsub_numsub(channel)[0][1], "the provider to listen")

    def answer(self, request: CompletionRequest = REQUEST) -> list[Chunk]:
        return self.loop.run(self._answer(request))

    async def _answer(self, request: CompletionRequest) -> list[Chunk]:
        async with aclosing(self.provider.answer(request)) as chunks:
            return [chunk async for chunk in chunks]

    def error(self, request: CompletionRequest = REQUEST) -> ProviderError:
        with pytest.raises(ProviderError) as raised:
            self.answer(request)
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
def caller(settings: Settings, empty_redis: Redis) -> Iterator[Caller]:
    made = Caller(settings)
    made.listen(empty_redis)
    yield made
    assert made.provider.notices._notices == {}
    made.close()


@contextmanager
def agent_process(redis: Redis, **behaviours: Behaviour | None) -> Iterator[AgentProcess]:
    opened = AgentProcess(redis, **behaviours)
    try:
        yield opened
    finally:
        opened.close()


def test_an_answer(caller: Caller, empty_redis: Redis) -> None:
    with agent_process(empty_redis, a=answering) as opened:
        (chunk,) = caller.answer()
    origin = {"agent": "a", "id": "", "response_id": "r", "conversation_id": "c", "error": ""}
    assert chunk == Chunk({"content": "Hi"}, "stop", None, origin)
    (_, request) = opened.requests[0]
    assert request.opens
    assert request.request["content"] == "Hello"
    assert not opened.busy("a")


def test_no_agent_is_connected(caller: Caller) -> None:
    assert (caller.error().reason, caller.error(KNOWN).reason) == (JobErrorCode.AGENT_NONE, JobErrorCode.AGENT_GONE)


@pytest.mark.parametrize("unreachable", [None, ignoring, refusing], ids=["nobody listens", "not accepted", "refused"])
def test_an_agent_that_cannot_be_reached_is_passed_over(caller: Caller, empty_redis: Redis, unreachable: Behaviour | None) -> None:
    with agent_process(empty_redis, a=unreachable, b=answering) as opened:
        assert caller.answer()[-1].origin["agent"] == "b"  # type: ignore[index]  # it is there
        assert not opened.busy("a")


@pytest.mark.parametrize("unreachable", [None, refusing], ids=["nobody listens", "refused"])
def test_an_agent_that_cannot_be_reached_at_all(caller: Caller, empty_redis: Redis, unreachable: Behaviour | None) -> None:
    with agent_process(empty_redis, a=unreachable):
        for request, code in ((REQUEST, JobErrorCode.AGENT_NONE), (KNOWN, JobErrorCode.AGENT_PING_FAILED)):
            error = caller.error(request)
            assert (error.reason, error.retryable) == (code, False)


def test_an_agent_that_is_reached_later_is_waited_for(caller: Caller, empty_redis: Redis) -> None:
    times = iter([refusing, refusing, answering])

    def at_last(*how: Any) -> None:
        next(times)(*how)

    with agent_process(empty_redis, a=at_last) as opened:
        assert caller.answer(KNOWN)[-1].finish_reason == "stop"
    assert len(opened.requests) == 3
    assert not opened.requests[0][1].opens


def test_lost_notices(settings: Settings, empty_redis: Redis) -> None:
    # Given a provider that gets no notice, its request is sent once, and its result found
    caller = Caller(settings)
    with agent_process(empty_redis, a=answering) as opened:
        assert caller.answer()[-1].delta == {"content": "Hi"}
        assert len(opened.requests) == 1

    def slowly(process: AgentProcess, agent_id: str, request: AgentRequest) -> None:
        process.accept(agent_id, request)
        threading.Timer(2.5, process.finish, (agent_id, request, AgentResult(answer=ANSWER))).start()

    with agent_process(empty_redis, a=slowly) as opened:
        assert caller.answer()[-1].delta == {"content": "Hi"}
        assert len(opened.requests) == 1
    caller.close()


def test_a_process_that_dies_with_a_request(caller: Caller, empty_redis: Redis) -> None:
    with agent_process(empty_redis, a=dying, b=answering):
        assert caller.answer()[-1].origin["agent"] == "b"  # type: ignore[index]  # it is there
    for request in (REQUEST, KNOWN):
        empty_redis.client.flushall()
        with agent_process(empty_redis, a=dying):
            error = caller.error(request)
            assert error.reason == JobErrorCode.AGENT_READ_FAILED
            assert error.details == {"err": "the connection of the agent is gone"}


def test_a_process_that_never_finishes(caller: Caller, empty_redis: Redis) -> None:
    with agent_process(empty_redis, a=accepting):
        error = caller.error()
    assert error.reason == JobErrorCode.AGENT_READ_FAILED
    assert error.details["err"].startswith("i/o timeout")


@pytest.mark.parametrize("code", [JobErrorCode.AGENT_PING_FAILED, JobErrorCode.AGENT_READ_FAILED])
def test_another_is_asked_in_place_of_one_that_fails(caller: Caller, empty_redis: Redis, code: JobErrorCode) -> None:
    with agent_process(empty_redis, a=failing(code, has_left=code is JobErrorCode.AGENT_READ_FAILED), b=answering):
        assert caller.answer()[-1].origin["agent"] == "b"  # type: ignore[index]  # it is there


@pytest.mark.parametrize("code", [JobErrorCode.AGENT_READ_FAILED, JobErrorCode.AGENT_WRONG_REPLY, JobErrorCode.AGENT_BAD_ANSWER])
def test_an_agent_that_fails_and_stays_has_answered(caller: Caller, empty_redis: Redis, code: JobErrorCode) -> None:
    with agent_process(empty_redis, a=failing(code), b=answering) as opened:
        error = caller.error()
    assert (error.reason, error.message, error.retryable) == (code, "It failed.", False)
    assert error.fields() == {"code": code, "message": "It failed.", **error.details}
    assert len(opened.requests) == 1


@pytest.mark.parametrize("code", [JobErrorCode.AGENT_PING_FAILED, JobErrorCode.AGENT_READ_FAILED])
def test_nobody_else_is_asked_in_a_known_conversation(caller: Caller, empty_redis: Redis, code: JobErrorCode) -> None:
    with agent_process(empty_redis, a=failing(code, has_left=True), b=answering) as opened:
        assert caller.error(KNOWN).reason == code
    assert [agent_id for agent_id, _ in opened.requests] == ["a"]


def test_three_pings_are_enough(caller: Caller, empty_redis: Redis) -> None:
    unanswering = failing(JobErrorCode.AGENT_PING_FAILED)
    with agent_process(empty_redis, a=unanswering, b=unanswering, c=unanswering, d=answering) as opened:
        assert caller.error().reason == JobErrorCode.AGENT_PING_FAILED
        assert caller.answer()[-1].finish_reason == "stop"
    assert [agent_id for agent_id, _ in opened.requests] == ["a", "b", "c", "d"]


def test_while_an_agent_works_there_are_signs_of_life(caller: Caller, empty_redis: Redis) -> None:
    with agent_process(empty_redis, a=accepting) as opened:
        opened.client.set(keyspace.agent_busy_key("a"), "another request", px=2_500)
        threading.Timer(3.5, lambda: opened.finish("a", opened.requests[0][1], AgentResult(answer=ANSWER))).start()
        *signs, answer = caller.answer()
    assert set(signs) == {Chunk()}
    assert len(signs) >= 3
    assert answer.finish_reason == "stop"


def test_a_caller_that_hangs_up_leaves_nothing_behind(caller: Caller, empty_redis: Redis) -> None:
    async def hang_up() -> None:
        async with aclosing(caller.provider.answer(REQUEST)) as chunks:
            await anext(chunks)

    before = caller.loop.run(caller.tasks())
    # While no agent is idle
    with agent_process(empty_redis, a=accepting) as opened:
        opened.client.set(keyspace.agent_busy_key("a"), "another request")
        caller.loop.run(hang_up())
        assert caller.loop.run(caller.tasks()) == before
        opened.client.delete(keyspace.agent_busy_key("a"))

        # While an agent works on it: it is free when it is done, and its answer is nobody's
        caller.loop.run(hang_up())
        assert caller.loop.run(caller.tasks()) == before
        assert opened.busy("a")
        opened.finish("a", opened.requests[0][1], AgentResult(answer={**ANSWER, "content": "old"}))
    with agent_process(empty_redis, a=answering):
        assert caller.answer()[-1].delta == {"content": "Hi"}


def test_first_come_first_served(caller: Caller, empty_redis: Redis) -> None:
    served: list[str] = []

    def serve(process: AgentProcess, agent_id: str, request: AgentRequest) -> None:
        served.append(request.request["content"])
        process.accept(agent_id, request)
        threading.Timer(0.1, process.finish, (agent_id, request, AgentResult(answer=ANSWER))).start()

    async def ask_all() -> None:
        async def one(number: int) -> None:
            request = CompletionRequest("agent", [{"role": "user", "content": str(number)}])
            async with aclosing(caller.provider.answer(request)) as chunks:
                assert [chunk async for chunk in chunks][-1].finish_reason == "stop"

        await asyncio.gather(*map(one, range(8)))

    with agent_process(empty_redis, a=serve):
        caller.loop.run(ask_all())
    assert served == [str(number) for number in range(8)]


def test_redis_is_away(settings: Settings) -> None:
    caller = Caller(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
    error = caller.error()
    assert (error.reason, error.retryable) == (JobErrorCode.AGENT_UNREACHABLE, True)
    caller.close()
