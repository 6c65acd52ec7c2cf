"""The provider that sends completion requests to agents, which are found and reached through Redis (`shared/agents/`)."""

import asyncio
import random
from collections.abc import AsyncGenerator
from weakref import WeakValueDictionary

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from shared.agents import claims, presence, requests
from shared.agents.claims import Claim, ClaimVerdict, RequestStatus
from shared.agents.presence import AgentLocation
from shared.agents.requests import AgentRequest, AgentResult
from shared.config import Settings
from shared.ids import new_id
from shared.models.error_codes import JobErrorCode
from shared.redis import keyspace, redis_clients
from workers.providers.agent.notices import NoticeListener, Notices
from workers.providers.agent.request import bound_agent, request_fields
from workers.providers.base import Chunk, CompletionRequest, ProviderError

POLL_SECONDS = 0.1
"""How often an idle agent is looked for (with jitter)."""
LOOK_SECONDS = 1.5
"""How often a worker that got no notice looks for the result, and whether the agent is still connected as it was."""
MISSED_LOOKS = 2
"""An agent that was not connected at so many looks is gone; one look may fall into a moment in which Redis was emptied."""
SIGN_SECONDS = 2.0
SIGNS_PER_STALL = 4
UNREACHED_SECONDS = 1.0
"""For how long an agent is passed over that could not be reached."""
MAX_ROUNDS = 3
"""Agents that a completion request is sent to in vain before it fails."""

log = structlog.get_logger(__name__)


class AgentProvider:
    """A provider that asks agents. Lives on the event loop."""

    def __init__(self, client: "redis.asyncio.Redis", config: Settings, worker_id: str) -> None:
        """Keep the client and the settings; `listen` must run for results to be noticed at once."""
        self.redis = client
        self.config = config
        self.worker_id = worker_id
        self.notices = NoticeListener(worker_id)
        self._turns: WeakValueDictionary[str | None, asyncio.Lock] = WeakValueDictionary()
        self._sign_seconds = min(SIGN_SECONDS, config.stall_seconds / SIGNS_PER_STALL)

    async def listen(self) -> None:
        """Receive the notices of this worker's requests, for ever."""
        await self.notices.listen(redis_clients.nonblocking(self.config.redis_url, answer_seconds=None))

    async def answer(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Ask an agent; see `Provider.answer`. While it works an empty chunk comes every few seconds."""
        call = asyncio.create_task(_AgentCall(self, request).run())
        try:
            while not (await asyncio.wait({call}, timeout=self._sign_seconds))[0]:
                yield Chunk()
            yield call.result()
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    def turn(self, agent_id: str | None) -> asyncio.Lock:
        """Return the lock by which calls that look for the same agent, or for any, take turns: first come, first served."""
        return self._turns.setdefault(agent_id, asyncio.Lock())


class _AgentCall:
    """One completion request's way to an answer."""

    def __init__(self, provider: AgentProvider, request: CompletionRequest) -> None:
        self._provider = provider
        self._redis = provider.redis
        self._config = provider.config
        self._bound_agent = bound_agent(request.position)
        self._fields = request_fields(request)
        self._until = _now() + self._config.agent_wait_seconds
        self._passed_over: dict[str, float] = {}

    async def run(self) -> Chunk:
        """Find an agent and ask it; where that begins a conversation and the agent fails, ask another.

        Raises:
            ProviderError: there is no answer.
        """
        try:
            failed: AgentResult | None = None
            for _ in range(MAX_ROUNDS):
                agent_id, result = await self._ask_next(failed)
                if result.answer is not None:
                    return _chunk(agent_id, result.answer)
                failed = result
                if self._bound_agent is not None or not (result.has_left or result.error is JobErrorCode.AGENT_PING_FAILED):
                    break
        except RedisError as error:
            message = "The agents cannot be reached at the moment."
            raise ProviderError(message, code=JobErrorCode.AGENT_UNREACHABLE.value, retryable=True) from error
        assert failed is not None
        raise _provider_error(failed)

    async def _ask_next(self, failed: AgentResult | None) -> tuple[str, AgentResult]:
        """Ask the next agent that can be reached; `failed` is the result of the one before."""
        while True:
            request_id = new_id("ask")
            agent_id, location = await self._wait_for_agent(request_id, failed)
            result = await self._send(request_id, agent_id, location)
            if result is not None:
                return agent_id, result
            if self._bound_agent is not None and _now() > self._until:
                raise self._none_idle(failed)
            self._passed_over[agent_id] = _now() + UNREACHED_SECONDS
            await asyncio.sleep(_poll_seconds())

    async def _wait_for_agent(self, request_id: str, failed: AgentResult | None) -> tuple[str, AgentLocation]:
        """Wait for an agent to be idle, and claim it.

        Raises:
            ProviderError: there is none, or none was idle in time.
        """
        turn = self._provider.turn(self._bound_agent)
        try:
            async with asyncio.timeout_at(max(self._until, _now() + POLL_SECONDS)):
                await turn.acquire()
        except TimeoutError:
            raise self._none_idle(failed) from None
        try:
            while True:
                claim = await self._claim(request_id)
                if claim.location is not None:
                    return claim.agent_id, claim.location
                if claim.verdict is ClaimVerdict.NONE and not _broke_off(failed):
                    raise self._none_connected()
                if _now() > self._until or _broke_off(failed):
                    raise self._none_idle(failed)
                await asyncio.sleep(_poll_seconds())
        finally:
            turn.release()

    async def _claim(self, request_id: str) -> Claim:
        passed_over = [agent_id for agent_id, until in self._passed_over.items() if until > _now()]
        command = claims.claim_command(request_id, self._bound_agent, passed_over)
        return claims.read_claim(await self._redis.execute_command(*command))

    async def _send(self, request_id: str, agent_id: str, location: AgentLocation) -> AgentResult | None:
        """Send the request to the agent that was claimed for it; None where that could not be done."""
        notices = self._provider.notices.expect(request_id)
        try:
            begins = self._bound_agent is None
            message = AgentRequest(request_id, self._provider.worker_id, location.connection, begins, self._fields)
            if await self._redis.publish(keyspace.agent_inbox_channel(location.process), message.packed()):
                await notices.wait(claims.ACCEPT_SECONDS)
            if not notices.statuses - {RequestStatus.REFUSED} and await self._redis.execute_command(
                *claims.withdraw_command(agent_id, request_id)
            ):
                return None
            return await self._wait_for_result(request_id, agent_id, location, notices)
        finally:
            self._provider.notices.forget(request_id)

    async def _wait_for_result(self, request_id: str, agent_id: str, location: AgentLocation, notices: Notices) -> AgentResult:
        """Wait for the result of a request that was accepted; its process notifies us of it, unless it dies."""
        max_seconds = requests.max_request_ms(self._config) / 1000
        until = _now() + max_seconds
        missed = 0
        while _now() < until:
            if RequestStatus.FINISHED not in notices.statuses:
                await notices.wait(LOOK_SECONDS)
            try:
                look = ("MGET", keyspace.agent_result_key(request_id), keyspace.agent_key(agent_id))
                result, current = await self._redis.execute_command(*look)
            except RedisError as error:
                log.warning("agent_result.redis_away", error=str(error))
                await asyncio.sleep(POLL_SECONDS)
                continue
            if result is not None:
                return AgentResult.read(result)
            missed = 0 if _is_same_connection(current, location) else missed + 1
            if missed >= MISSED_LOOKS:
                return _no_result("the connection of the agent is gone", has_left=True)
        return _no_result(f"i/o timeout: nothing came in {max_seconds:g} s")

    def _none_connected(self) -> ProviderError:
        if self._bound_agent is None:
            return _error(JobErrorCode.AGENT_NONE, "No agent is connected.")
        return _error(JobErrorCode.AGENT_GONE, "The agent of this conversation is not connected.")

    def _none_idle(self, failed: AgentResult | None) -> ProviderError:
        if failed is not None and _broke_off(failed):
            return _provider_error(failed)
        seconds = self._config.agent_wait_seconds
        if self._bound_agent is None:
            return _error(JobErrorCode.AGENT_NONE, f"No agent was idle within {seconds:g} s.")
        return _error(JobErrorCode.AGENT_PING_FAILED, f"The agent of this conversation was busy for {seconds:g} s.")


def _broke_off(failed: AgentResult | None) -> bool:
    """Return whether an agent was lost in the middle of an answer: then another is asked if it is idle, and none is waited for."""
    return failed is not None and failed.error is not JobErrorCode.AGENT_PING_FAILED


def _chunk(agent_id: str, answer: dict[str, str]) -> Chunk:
    """Return an agent's answer as one chunk. Its text is the answer's, and is not kept twice."""
    origin = {"agent": agent_id, **{name: value for name, value in answer.items() if name != "content"}}
    return Chunk({"content": answer["content"]}, "stop", origin=origin)


def _provider_error(failed: AgentResult) -> ProviderError:
    assert failed.error is not None
    return ProviderError(failed.message, code=failed.error.value, retryable=False, details=failed.details)


def _error(error: JobErrorCode, message: str) -> ProviderError:
    return ProviderError(message, code=error.value, retryable=False)


def _no_result(why: str, *, has_left: bool = False) -> AgentResult:
    message = f"The agent's answer could not be read: {why}."
    return AgentResult(error=JobErrorCode.AGENT_READ_FAILED, message=message, details={"err": why}, has_left=has_left)


def _is_same_connection(value: bytes | None, location: AgentLocation) -> bool:
    current = presence.read_location(value)
    return current is not None and current.connection == location.connection


def _now() -> float:
    return asyncio.get_running_loop().time()


def _poll_seconds() -> float:
    return POLL_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
