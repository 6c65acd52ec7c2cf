"""The agents of one API process: served for as long as they stay, and sent what workers request."""

import threading
import uuid

import structlog
from redis import Redis
from wsproto.frame_protocol import CloseReason

from api.agents.registry import Registry
from api.agents.request_handler import RequestHandler
from api.agents.session import CONNECTION_ID, MAX_ID_CHARS, Frame, Session
from api.agents.websocket import Closed, WebSocket
from api.streaming.hub import Hub
from shared.agents import requests
from shared.config import Settings
from shared.database import Database
from shared.ids import new_id
from shared.pubsub.policy import LogEvents
from shared.pubsub.thread_listener import ThreadListener
from shared.redis import keyspace, redis_clients

FIRST_PRINTABLE = " "
BAD_ID = f"an id has at most {MAX_ID_CHARS} characters, none of them a control character"
LOG_EVENTS = LogEvents(redis_away="agent_inbox.redis_away", broken="agent_inbox.broken")

log = structlog.get_logger(__name__)


class Agents:
    """All agents of this process. Its threads start with the first agent, after any fork."""

    def __init__(self, config: Settings, database: Database, redis: Redis, hub: Hub) -> None:
        """Build the parts; `hub` knows when this process stops."""
        process = new_id("api")
        max_request_ms = requests.max_request_ms(config)
        self._registry = Registry(redis, process, max_request_ms, lambda: hub.is_closing)
        handler = RequestHandler(config, database, redis, self._registry)
        self._inbox = ThreadListener(
            redis_clients.subscriber(config.redis_url),
            LOG_EVENTS,
            on_message=lambda _, message: handler.handle(message),
            is_over=lambda: hub.is_closing,
        )
        self._inbox.subscribe(keyspace.agent_inbox_channel(process))
        self._silence_seconds = max_request_ms / 1000
        self._lock = threading.Lock()
        self._has_started = False

    @property
    def silence_seconds(self) -> float:
        """How long an agent's socket may be silent: some send nothing at all, not even pong, while they look for an answer."""
        return self._silence_seconds

    def serve(self, websocket: WebSocket, token_id: str | None) -> None:
        """Serve an agent from its first frame to its last.

        Args:
            websocket: its connection.
            token_id: the agent token with which it came; None where it needed none.
        """
        self._start()
        try:
            session = self._open_session(websocket, token_id)
            self._read(session)
        except Closed as closed:
            log.info("agent.turned_away", reason=str(closed))
        finally:
            websocket.close()

    def _start(self) -> None:
        with self._lock:
            if not self._has_started:
                self._has_started = True
                self._registry.start()
                threading.Thread(target=self._inbox.run, name="agent-inbox", daemon=True).start()

    def _open_session(self, websocket: WebSocket, token_id: str | None) -> Session:
        """Offer an id, and read which one it is to be: that, or the one that the agent had before.

        Raises:
            Closed: the agent is gone, too slow, or sent no id.
        """
        with self._registry.arrival(websocket):
            websocket.send(Frame(str(uuid.uuid4()), CONNECTION_ID).written())
            message = websocket.receive()
        try:
            agent_id = Frame.read(message).id
        except ValueError as error:
            websocket.hang_up(CloseReason.INVALID_FRAME_PAYLOAD_DATA, "no connection id")
            raise Closed(CloseReason.INVALID_FRAME_PAYLOAD_DATA, str(error)) from error
        if len(agent_id) > MAX_ID_CHARS or any(character < FIRST_PRINTABLE for character in agent_id):
            websocket.hang_up(CloseReason.POLICY_VIOLATION, "no such id")
            raise Closed(CloseReason.POLICY_VIOLATION, BAD_ID)
        return Session(websocket, agent_id, token_id)

    def _read(self, session: Session) -> None:
        """Read what an agent sends until its connection is over."""
        self._registry.add(session)
        log.info("agent.joined", agent=session.agent_id)
        closed = Closed(CloseReason.INTERNAL_ERROR)
        try:
            while True:
                session.receive(session.websocket.receive())
                if session.quarantined_at is not None:
                    self._registry.end_quarantine(session)
        except Closed as error:
            closed = error
        finally:
            self._registry.remove(session)
            session.end(closed)
            log.info("agent.left", agent=session.agent_id, reason=str(closed))
