"""The agents whose sockets this process holds, and their presence in Redis: registered, refreshed, removed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from redis import Redis
from wsproto.frame_protocol import CloseReason

from api.agents.session import Session
from api.agents.websocket import WebSocket
from shared.agents import claims, presence, requests
from shared.agents.presence import AgentLocation, ConnectedAgent
from shared.redis import keyspace
from shared.redis.redis_clients import RedisError

TICK_SECONDS = 0.25
ARRIVAL_SECONDS = 10.0
"""A connection that has not sent its id by then is closed."""
QUARANTINE_SECONDS = 60.0
"""An agent that did not answer a ping, and has sent nothing since, is tried again after so long."""
REPLACED = "replaced by a newer connection"

log = structlog.get_logger(__name__)


class Registry:
    """This process' agents, and their presence.

    What it writes to Redis it writes in one order (`_presence`), so that an agent that has just left is never registered again.
    """

    def __init__(self, redis: Redis, process: str, max_request_ms: int, is_over: Callable[[], bool]) -> None:
        """Keep no agents yet; `max_request_ms` is as long as a request may take, `is_over` says that the process stops."""
        self.process = process
        self._redis = redis
        self._max_request_ms = max_request_ms
        self._is_over = is_over
        self._sessions: dict[str, Session] = {}
        self._arriving: dict[WebSocket, float] = {}
        self._lock = threading.Lock()
        self._presence = threading.Lock()

    def start(self) -> None:
        """Keep the agents in Redis for as long as the process lives."""
        threading.Thread(target=self._run, name="agent-registry", daemon=True).start()

    @contextmanager
    def arrival(self, websocket: WebSocket) -> Iterator[None]:
        """Bound the time that a connection takes to send its id."""
        with self._lock:
            self._arriving[websocket] = time.monotonic() + ARRIVAL_SECONDS
        try:
            yield
        finally:
            with self._lock:
                del self._arriving[websocket]

    def find(self, connection: str) -> Session | None:
        """Return the agent with this connection."""
        with self._lock:
            return self._sessions.get(connection)

    def add(self, session: Session) -> None:
        """Add an agent. While Redis is away no worker can find it; it is registered as soon as Redis is back."""
        with self._lock:
            self._sessions[session.connection] = session
        self._register(session)

    def quarantine(self, session: Session) -> None:
        """Let workers find an agent no more, until it sends something, or for a while."""
        log.warning("agent.quarantined", agent=session.agent_id)
        with self._presence:
            session.quarantined_at = time.monotonic()  # first: else the next tick registers it again
            session.is_registered = False
        self._unregister(session)

    def end_quarantine(self, session: Session) -> None:
        """Let an agent be found again, from the next refresh on, unless another has its id meanwhile."""
        session.is_registered = True
        session.quarantined_at = None

    def remove(self, session: Session) -> None:
        """Remove an agent whose connection is over."""
        with self._lock:
            del self._sessions[session.connection]
        session.is_registered = False
        self._unregister(session)

    def finish(self, session: Session, request: requests.AgentRequest, result: requests.AgentResult) -> None:
        """Store a result for its worker, and release the agent for another request.

        Raises:
            RedisError: it is not stored.
        """
        with self._presence:
            session.finish(request.id)
            command = claims.finish_command(session.agent_id, request.id, request.worker, result.packed())
            self._redis.execute_command(*command)

    def evict(self, connection: str) -> None:
        """Close a connection whose agent is connected elsewhere now."""
        session = self.find(connection)
        if session is not None:
            session.websocket.hang_up(CloseReason.NORMAL_CLOSURE, REPLACED)

    def _register(self, session: Session) -> None:
        """Let workers find an agent; an earlier connection under its id is closed, whichever process holds it."""
        with self._presence:
            if self.find(session.connection) is None or session.quarantined_at is not None or session.is_registered:
                return  # it has just left, was quarantined meanwhile, or came back from that: another may have its id since
            try:
                reply = self._redis.execute_command(*presence.join_command(self._agent(session)))
            except RedisError as error:
                log.warning("agent_registration.redis_away", error=str(error))
                return
            session.is_registered = True
        before = presence.read_location(reply)
        if before is not None and before.connection != session.connection:
            self._evict_before(before)

    def _unregister(self, session: Session) -> None:
        with self._presence:
            try:
                self._redis.execute_command(*presence.leave_command(session.agent_id, session.connection))
            except RedisError as error:
                log.warning("agent_removal.redis_away", error=str(error))  # it expires

    def _evict_before(self, before: AgentLocation) -> None:
        if before.process == self.process:
            return self.evict(before.connection)
        try:
            self._redis.publish(keyspace.agent_inbox_channel(before.process), requests.eviction(before.connection))
        except RedisError as error:
            log.warning("agent_eviction.redis_away", error=str(error))  # the other process' next refresh finds out
        return None

    def _agent(self, session: Session) -> ConnectedAgent:
        location = AgentLocation(self.process, session.connection, session.answered_us)
        return ConnectedAgent(session.agent_id, location, session.used_us)

    def _run(self) -> None:
        refreshed = 0.0
        while True:
            time.sleep(TICK_SECONDS)
            try:
                self._close_late()
                if time.monotonic() - refreshed >= presence.REFRESH_SECONDS:
                    refreshed = time.monotonic()
                    self._refresh()
            except RedisError as error:
                log.warning("agent_refresh.redis_away", error=str(error))
            except Exception:  # the boundary of a thread: agents whose presence nobody refreshes are gone
                log.exception("agent_refresh.broken")

    def _close_late(self) -> None:
        """Close connections that send no id in time; all of them when this process stops, so that agents connect to another."""
        with self._lock:
            waiting, sessions = dict(self._arriving), list(self._sessions.values())
        for websocket, until in waiting.items():
            if time.monotonic() > until or self._is_over():
                websocket.hang_up(CloseReason.POLICY_VIOLATION, "no connection id")
        for session in sessions if self._is_over() else ():
            session.websocket.hang_up(CloseReason.GOING_AWAY, "this server stops")

    def _refresh(self) -> None:
        """Refresh the presence of all agents, and register those that are not."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            if session.quarantined_at is not None and time.monotonic() - session.quarantined_at > QUARANTINE_SECONDS:
                self.end_quarantine(session)
            elif session.quarantined_at is None and not session.is_registered:
                self._register(session)
        for session in self._refresh_registered(sessions):
            session.websocket.hang_up(CloseReason.NORMAL_CLOSURE, REPLACED)

    def _refresh_registered(self, sessions: list[Session]) -> list[Session]:
        """Refresh in one round trip; return the agents that are connected elsewhere."""
        with self._presence, self._redis.pipeline(transaction=False) as pipe:
            registered = [session for session in sessions if session.is_registered]
            for session in registered:
                command = presence.refresh_command(self._agent(session), session.accepted_id, self._max_request_ms)
                pipe.execute_command(*command)
            replies = pipe.execute() if registered else []
        return [session for session, is_ours in zip(registered, replies, strict=True) if not is_ours]
