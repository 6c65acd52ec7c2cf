"""The agents whose sockets this process holds, and what Redis is told of them: that they came, are still there, have left."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from redis import Redis
from wsproto.frame_protocol import CloseReason

from api.agents.session import Session
from api.agents.websocket import WebSocket
from shared import keyspace
from shared.agents import presence, requests
from shared.agents.presence import Member, Seat
from shared.redis_clients import RedisError

TICK_SECONDS = 0.25
ARRIVE_SECONDS = 10.0
"""A connection that has not said its id by then is closed."""
PARDON_SECONDS = 60.0
"""An agent that failed a ping, and has said nothing since, is tried again after so long."""

log = structlog.get_logger(__name__)


class Registry:
    """Knows this process' agents, and speaks of them in Redis.

    What it says it says in one order (`_speaking`), so that Redis never hears of an agent that has just left.
    """

    def __init__(self, redis: Redis, process: str, ask_ms: int, is_over: Callable[[], bool]) -> None:
        """Prepare; `ask_ms` is as long as an ask may take."""
        self.process = process
        self._redis = redis
        self._ask_ms = ask_ms
        self._is_over = is_over
        self._sessions: dict[str, Session] = {}
        self._arriving: dict[WebSocket, float] = {}
        self._lock = threading.Lock()
        self._speaking = threading.Lock()

    def start(self) -> None:
        """Keep the agents in Redis for as long as the process lives."""
        threading.Thread(target=self._run, name="agent-registry", daemon=True).start()

    @contextmanager
    def arrival(self, websocket: WebSocket) -> Iterator[None]:
        """Bound the time that a connection takes to say who it is."""
        with self._lock:
            self._arriving[websocket] = time.monotonic() + ARRIVE_SECONDS
        try:
            yield
        finally:
            with self._lock:
                del self._arriving[websocket]

    def find(self, connection: str) -> Session | None:
        """Find an agent by its connection."""
        with self._lock:
            return self._sessions.get(connection)

    def add(self, session: Session) -> None:
        """Take in an agent. While Redis is away nobody can find it; it is told as soon as it is back."""
        with self._lock:
            self._sessions[session.connection] = session
        self._seat(session)

    def _seat(self, session: Session) -> None:
        """Let workers find an agent; who sat there under its id before is sent away, wherever that is."""
        with self._speaking:
            if self.find(session.connection) is None or session.left_out_at is not None:
                return  # it has just left, or was left out meanwhile
            try:
                reply = self._redis.execute_command(*presence.join_command(self._member(session)))
            except RedisError as error:
                log.warning("agent.redis_away", error=str(error))
                return
            session.is_seated = True
        before = presence.seat_of(reply)
        if before is not None and before.connection != session.connection:
            self._send_away(before)

    def leave_out(self, session: Session) -> None:
        """Let workers find an agent no more, until it says something."""
        log.warning("agent.left_out", agent=session.agent_id)
        with self._speaking:
            session.left_out_at = time.monotonic()  # first: who is not seated for no such reason is seated by the next look
            session.is_seated = False
        self._unseat(session)

    def bring_back(self, session: Session) -> None:
        """Let an agent that was left out be found again, from the next look on, unless another has its id meanwhile."""
        session.is_seated = True
        session.left_out_at = None

    def remove(self, session: Session) -> None:
        """Let go of an agent whose connection is over."""
        with self._lock:
            del self._sessions[session.connection]
        session.is_seated = False
        self._unseat(session)

    def settle(self, session: Session, ask: requests.Ask, outcome: requests.Outcome) -> None:
        """Leave an outcome for its worker, and the agent free for another ask.

        Raises:
            RedisError: nobody knows of it yet.
        """
        with self._speaking:
            session.let_go(ask.id)
            self._redis.execute_command(*presence.settle_command(session.agent_id, ask.id, ask.worker, outcome.packed()))

    def evict(self, connection: str) -> None:
        """Close a connection whose agent sits elsewhere now."""
        session = self.find(connection)
        if session is not None:
            session.websocket.hang_up(CloseReason.NORMAL_CLOSURE, "replaced by a newer connection")

    def _member(self, session: Session) -> Member:
        return Member(session.agent_id, Seat(self.process, session.connection, session.heard_us), session.used_us)

    def _unseat(self, session: Session) -> None:
        with self._speaking:
            try:
                self._redis.execute_command(*presence.leave_command(session.agent_id, session.connection))
            except RedisError as error:
                log.warning("agent.redis_away", error=str(error))  # its expiry takes it

    def _send_away(self, before: Seat) -> None:
        if before.process == self.process:
            return self.evict(before.connection)
        try:
            self._redis.publish(keyspace.agent_mail_channel(before.process), requests.eviction(before.connection))
        except RedisError as error:
            log.warning("agent.redis_away", error=str(error))  # the other process' next look tells it
        return None

    def _run(self) -> None:
        kept = 0.0
        while True:
            time.sleep(TICK_SECONDS)
            try:
                self._close_late()
                if time.monotonic() - kept >= presence.KEEP_SECONDS:
                    kept = time.monotonic()
                    self._keep()
            except RedisError as error:
                log.warning("agent.redis_away", error=str(error))
            except Exception:
                log.exception("agent.registry_broken")  # and on: agents that nobody speaks of are gone

    def _close_late(self) -> None:
        """Hang up on who does not say who he is; on everybody when this process stops, so that they connect to another."""
        with self._lock:
            waiting, sessions = dict(self._arriving), list(self._sessions.values())
        for websocket, until in waiting.items():
            if time.monotonic() > until or self._is_over():
                websocket.hang_up(CloseReason.POLICY_VIOLATION, "no connection id")
        for session in sessions if self._is_over() else ():
            session.websocket.hang_up(CloseReason.GOING_AWAY, "this server stops")

    def _keep(self) -> None:
        """Say that all are still there; seat those that are to be."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            if session.left_out_at is not None and time.monotonic() - session.left_out_at > PARDON_SECONDS:
                self.bring_back(session)
            elif session.left_out_at is None and not session.is_seated:
                self._seat(session)
        for session in self._told(sessions):
            session.websocket.hang_up(CloseReason.NORMAL_CLOSURE, "replaced by a newer connection")

    def _told(self, sessions: list[Session]) -> list[Session]:
        """Tell of those that are seated; answers those that sit elsewhere."""
        with self._speaking, self._redis.pipeline(transaction=False) as pipe:
            seated = [session for session in sessions if session.is_seated]
            for session in seated:
                pipe.execute_command(*presence.keep_command(self._member(session), session.accepted_id, self._ask_ms))
            replies = pipe.execute() if seated else []
        return [session for session, is_kept in zip(seated, replies, strict=True) if not is_kept]
