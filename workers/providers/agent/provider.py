"""Ask agents: programs that connect to us and answer. They are found and asked through Redis (`shared/agents/`)."""

import asyncio
import random
from collections.abc import AsyncGenerator
from weakref import WeakValueDictionary

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from shared import keyspace, redis_clients
from shared.agents import presence, requests
from shared.agents.presence import News, Seat, Taken, Verdict
from shared.agents.requests import Ask, Outcome, Trouble
from shared.config import Settings
from shared.ids import new_id
from workers.providers.agent import request
from workers.providers.agent.news import AgentNews, Waiting
from workers.providers.base import Chunk, CompletionRequest, ProviderError

POLL_SECONDS = 0.1
"""How often an idle agent is looked for (with jitter)."""
LOOK_SECONDS = 1.5
"""How often it is looked for an outcome of which nobody told, and whether the agent still sits where it was asked."""
MISSED_LOOKS = 2
"""An agent that was not there at so many looks is gone; one look may fall into a moment in which Redis was emptied."""
SIGN_SECONDS = 2.0
SIGNS_PER_STALL = 4
UNREACHED_SECONDS = 1.0
"""For how long an agent is passed over that could not be reached."""
MAX_ROUNDS = 3
"""Agents that a question is put to in vain before it fails."""

log = structlog.get_logger(__name__)


class AgentProvider:
    """A provider that asks agents. Lives on the event loop."""

    def __init__(self, client: "redis.asyncio.Redis", config: Settings, worker_id: str) -> None:
        """Prepare; `listen` must run for answers to be heard at once."""
        self.redis = client
        self.config = config
        self.worker_id = worker_id
        self.news = AgentNews(worker_id)
        self._turns: WeakValueDictionary[str | None, asyncio.Lock] = WeakValueDictionary()
        self._sign_seconds = min(SIGN_SECONDS, config.stall_seconds / SIGNS_PER_STALL)

    async def listen(self) -> None:
        """Hear what becomes of this worker's asks, for ever."""
        await self.news.listen(redis_clients.nonblocking(self.config.redis_url, answer_seconds=None))

    async def answer(self, question: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Ask an agent; see `Provider.answer`. While it is at work a piece that says nothing comes every few seconds."""
        asking = asyncio.create_task(_Asking(self, question).run())
        try:
            while not (await asyncio.wait({asking}, timeout=self._sign_seconds))[0]:
                yield Chunk()
            yield asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def turn(self, wanted: str | None) -> asyncio.Lock:
        """Let those that look for the same agent, or for any, look one after another: first come, first served."""
        return self._turns.setdefault(wanted, asyncio.Lock())


class _Asking:
    """One question's way to an answer."""

    def __init__(self, provider: AgentProvider, question: CompletionRequest) -> None:
        self._provider = provider
        self._redis = provider.redis
        self._config = provider.config
        self._wanted = request.wanted_agent(question.position)
        self._request = request.request(question)
        self._until = _now() + self._config.agent_wait_seconds
        self._passed_over: dict[str, float] = {}

    async def run(self) -> Chunk:
        """Find an agent and ask it; where that begins a conversation and the agent fails, ask another.

        Raises:
            ProviderError: there is no answer.
        """
        try:
            failed: Outcome | None = None
            for _ in range(MAX_ROUNDS):
                agent_id, outcome = await self._asked(failed)
                if outcome.answer is not None:
                    return _piece(agent_id, outcome.answer)
                failed = outcome
                if self._wanted is not None or not (outcome.has_left or outcome.trouble is Trouble.PING_FAILED):
                    break
        except RedisError as error:
            message = "The agents cannot be reached at the moment."
            raise ProviderError(message, code=Trouble.UNREACHABLE.value, retryable=True) from error
        assert failed is not None
        raise _error(failed)

    async def _asked(self, failed: Outcome | None) -> tuple[str, Outcome]:
        """Ask the next agent that can be reached; `failed` is what came of the one before."""
        while True:
            ask_id = new_id("ask")
            agent_id, seat = await self._take(ask_id, failed)
            outcome = await self._put(ask_id, agent_id, seat)
            if outcome is not None:
                return agent_id, outcome
            if self._wanted is not None and _now() > self._until:
                raise self._nobody_idle(failed)
            self._passed_over[agent_id] = _now() + UNREACHED_SECONDS
            await asyncio.sleep(_poll_seconds())

    async def _take(self, ask_id: str, failed: Outcome | None) -> tuple[str, Seat]:
        """Wait for an agent to be idle, and take it.

        Raises:
            ProviderError: there is none, or none was idle in time.
        """
        turn = self._provider.turn(self._wanted)
        try:
            async with asyncio.timeout_at(max(self._until, _now() + POLL_SECONDS)):
                await turn.acquire()
        except TimeoutError:
            raise self._nobody_idle(failed) from None
        try:
            while True:
                taken = await self._look(ask_id)
                if taken.seat is not None:
                    return taken.agent_id, taken.seat
                if taken.verdict is Verdict.NONE and not _broke_off(failed):
                    raise self._nobody()
                if _now() > self._until or _broke_off(failed):
                    raise self._nobody_idle(failed)
                await asyncio.sleep(_poll_seconds())
        finally:
            turn.release()

    async def _look(self, ask_id: str) -> Taken:
        passed_over = [agent_id for agent_id, until in self._passed_over.items() if until > _now()]
        return presence.taken(await self._redis.execute_command(*presence.take_command(ask_id, self._wanted, passed_over)))

    async def _put(self, ask_id: str, agent_id: str, seat: Seat) -> Outcome | None:
        """Put the question to an agent that was taken for it; None where that could not be done."""
        waiting = self._provider.news.expect(ask_id)
        try:
            ask = Ask(ask_id, self._provider.worker_id, seat.connection, self._wanted is None, self._request)
            if await self._redis.publish(keyspace.agent_mail_channel(seat.process), ask.letter()):
                await waiting.next(presence.ACCEPT_SECONDS)
            if not waiting.heard - {News.REFUSED} and await self._redis.execute_command(
                *presence.withdraw_command(agent_id, ask_id)
            ):
                return None
            return await self._outcome(ask_id, agent_id, seat, waiting)
        finally:
            self._provider.news.forget(ask_id)

    async def _outcome(self, ask_id: str, agent_id: str, seat: Seat, waiting: Waiting) -> Outcome:
        """Wait for what comes of an ask that was accepted: its process tells, unless it dies."""
        most_seconds = requests.most_ms(self._config) / 1000
        until = _now() + most_seconds
        missed = 0
        while _now() < until:
            if News.SETTLED not in waiting.heard:
                await waiting.next(LOOK_SECONDS)
            try:
                look = ("MGET", keyspace.agent_outcome_key(ask_id), keyspace.agent_key(agent_id))
                said, here = await self._redis.execute_command(*look)
            except RedisError as error:
                log.warning("agent.redis_away", error=str(error))
                await asyncio.sleep(POLL_SECONDS)
                continue
            if said is not None:
                return Outcome.read(said)
            missed = 0 if _sits(here, seat) else missed + 1
            if missed >= MISSED_LOOKS:
                return _unheard("the connection of the agent is gone", has_left=True)
        return _unheard(f"i/o timeout: nothing came in {most_seconds:g} s")

    def _nobody(self) -> ProviderError:
        if self._wanted is None:
            return _error(Outcome(trouble=Trouble.NONE, message="No agent is connected."))
        return _error(Outcome(trouble=Trouble.GONE, message="The agent of this conversation is not connected."))

    def _nobody_idle(self, failed: Outcome | None) -> ProviderError:
        if failed is not None and _broke_off(failed):
            return _error(failed)
        seconds = self._config.agent_wait_seconds
        if self._wanted is None:
            return _error(Outcome(trouble=Trouble.NONE, message=f"No agent was idle within {seconds:g} s."))
        return _error(Outcome(trouble=Trouble.PING_FAILED, message=f"The agent of this conversation was busy for {seconds:g} s."))


def _broke_off(failed: Outcome | None) -> bool:
    """Tell whether an agent was lost in the middle of an answer: then another is asked if it is idle, and none is waited for."""
    return failed is not None and failed.trouble is not Trouble.PING_FAILED


def _piece(agent_id: str, answer: dict[str, str]) -> Chunk:
    """Make an answer of what the agent said. Its text is the answer's, and is not kept twice."""
    origin = {"agent": agent_id, **{name: said for name, said in answer.items() if name != "content"}}
    return Chunk({"content": answer["content"]}, "stop", origin=origin)


def _error(outcome: Outcome) -> ProviderError:
    assert outcome.trouble is not None
    return ProviderError(outcome.message, code=outcome.trouble.value, retryable=False, details=outcome.details)


def _unheard(why: str, *, has_left: bool = False) -> Outcome:
    message = f"The agent's answer could not be read: {why}."
    return Outcome(trouble=Trouble.READ_FAILED, message=message, details={"err": why}, has_left=has_left)


def _sits(here: bytes | None, seat: Seat) -> bool:
    now = presence.seat_of(here)
    return now is not None and now.connection == seat.connection


def _now() -> float:
    return asyncio.get_running_loop().time()


def _poll_seconds() -> float:
    return POLL_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
