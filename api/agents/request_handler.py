"""Handle what workers publish for this process' agents: accept each request, send it to its agent, store the result."""

import threading
import time

import structlog
from redis import Redis
from wsproto.frame_protocol import CloseReason

from api.agents.registry import Registry
from api.agents.session import Session, now_us
from shared.agents import claims, requests
from shared.agents.claims import RequestStatus
from shared.agents.requests import AgentRequest, AgentResult
from shared.config import Settings
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.models import ApiToken
from shared.models.error_codes import JobErrorCode
from shared.redis import keyspace
from shared.redis.redis_clients import RedisError

STORE_SECONDS = 10.0
"""How long a result is kept here while Redis is away; its worker looks for it meanwhile."""
STORE_AGAIN_SECONDS = 0.2

log = structlog.get_logger(__name__)


class RequestHandler:
    """Sends workers' requests to this process' agents."""

    def __init__(self, config: Settings, database: Database, redis: Redis, registry: Registry) -> None:
        """Keep what requests need; `registry` has the agents."""
        self._config = config
        self._database = database
        self._redis = redis
        self._registry = registry

    def handle(self, message: bytes) -> None:
        """Handle what was published for this process. Never waits for an agent."""
        content = requests.read_message(message)
        if isinstance(content, str):
            return self._registry.evict(content)
        session = self._registry.find(content.connection)
        if session is None or not session.is_registered or not session.begin(content.id):
            return self._refuse(content)
        threading.Thread(target=self._run, args=(session, content), name="agent-request", daemon=True).start()
        return None

    def _refuse(self, request: AgentRequest) -> None:
        """Let the worker look for another agent; this one was sent nothing."""
        notice = claims.write_status(RequestStatus.REFUSED, request.id)
        try:
            self._redis.publish(keyspace.agent_notice_channel(request.worker), notice)
        except RedisError as error:
            log.warning("agent_refusal.redis_away", error=str(error))  # what nobody accepts, its worker withdraws

    def _run(self, session: Session, request: AgentRequest) -> None:
        try:
            if self._is_allowed(session) and self._accept(session, request):
                self._store(session, request, self._ask(session, request))
            else:
                self._refuse(request)
        except RedisError as error:
            log.warning("agent_request.redis_away", error=str(error))
        finally:
            session.finish(request.id)

    def _is_allowed(self, session: Session) -> bool:
        """Return whether the agent's token is still good; an agent whose token was deleted is sent away."""
        if session.token_id is None:
            return True
        try:
            with self._database.read() as database:
                is_good = database.get(ApiToken, session.token_id) is not None
        except DatabaseUnavailable as error:
            log.warning("agent.database_away", error=str(error.__cause__))
            return False
        if not is_good:
            session.websocket.hang_up(CloseReason.POLICY_VIOLATION, "the agent token was deleted")
        return is_good

    def _accept(self, session: Session, request: AgentRequest) -> bool:
        """Accept a request, unless its worker has withdrawn it meanwhile; what is not accepted is not refreshed in Redis."""
        session.used_us = now_us()
        max_ms = requests.max_request_ms(self._config)
        command = claims.accept_command(session.agent_id, request.id, request.worker, max_ms)
        session.has_accepted = bool(self._redis.execute_command(*command))
        return session.has_accepted

    def _ask(self, session: Session, request: AgentRequest) -> AgentResult:
        try:
            result = session.ask(request.request, self._config.agent_ping_seconds, self._config.agent_answer_seconds)
        except Exception:  # the boundary of a thread: its worker would wait for long
            log.exception("agent.broken", agent=session.agent_id)
            message, details = "Something went wrong on our side.", {"err": "internal error"}
            return AgentResult(error=JobErrorCode.AGENT_READ_FAILED, message=message, details=details)
        if result.answer is not None:
            session.answered_us = now_us()
        if result.error is JobErrorCode.AGENT_PING_FAILED and request.opens and not result.has_left:
            self._registry.quarantine(session)
        return result

    def _store(self, session: Session, request: AgentRequest, result: AgentResult) -> None:
        until = time.monotonic() + STORE_SECONDS
        while True:
            try:
                return self._registry.finish(session, request, result)
            except RedisError:
                if time.monotonic() > until:
                    raise
                time.sleep(STORE_AGAIN_SECONDS)
