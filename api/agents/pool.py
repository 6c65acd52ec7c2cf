"""The agents of one API process: let in, listened to for as long as they stay, and asked what workers want to know."""

import threading
import uuid

import structlog
from redis import Redis
from wsproto.frame_protocol import CloseReason

from api.agents.mailbox import Mailbox
from api.agents.registry import Registry
from api.agents.service import Service
from api.agents.session import CONNECTION_ID, MAX_ID_CHARS, Frame, Session
from api.agents.websocket import Closed, WebSocket
from api.streaming.hub import Hub
from shared import keyspace, redis_clients
from shared.agents import requests
from shared.config import Settings
from shared.database import Database
from shared.ids import new_id

FIRST_PRINTABLE = " "
BAD_ID = f"an id has at most {MAX_ID_CHARS} characters, none of them a control character"

log = structlog.get_logger(__name__)


class Agents:
    """All agents of this process. Its threads start with the first agent, after any fork."""

    def __init__(self, config: Settings, database: Database, redis: Redis, hub: Hub) -> None:
        """Prepare; `hub` knows when this process stops."""
        process = new_id("api")
        ask_ms = requests.most_ms(config)
        self._registry = Registry(redis, process, ask_ms, lambda: hub.is_closing)
        service = Service(config, database, redis, self._registry)
        channel = keyspace.agent_mail_channel(process)
        self._mailbox = Mailbox(redis_clients.subscriber(config.redis_url), channel, service.take, lambda: hub.is_closing)
        self._silence_seconds = ask_ms / 1000
        self._lock = threading.Lock()
        self._has_started = False

    @property
    def silence_seconds(self) -> float:
        """How long an agent's socket may be silent: some say nothing at all, not even pong, while they look for an answer."""
        return self._silence_seconds

    def attend(self, websocket: WebSocket, token_id: str | None) -> None:
        """Serve an agent from its first frame to its last.

        Args:
            websocket: its connection.
            token_id: the agent token with which it came; None where it needed none.
        """
        self._start()
        try:
            session = self._arrived(websocket, token_id)
            self._listen(session)
        except Closed as closed:
            log.info("agent.turned_away", reason=str(closed))
        finally:
            websocket.close()

    def _start(self) -> None:
        with self._lock:
            if not self._has_started:
                self._has_started = True
                self._registry.start()
                self._mailbox.start()

    def _arrived(self, websocket: WebSocket, token_id: str | None) -> Session:
        """Offer an id, and hear which one it is to be: that, or the one that the agent had before.

        Raises:
            Closed: the agent is gone, too slow, or said no id.
        """
        with self._registry.arrival(websocket):
            websocket.send(Frame(str(uuid.uuid4()), CONNECTION_ID).written())
            said = websocket.receive()
        try:
            agent_id = Frame.read(said).id
        except ValueError as error:
            websocket.hang_up(CloseReason.INVALID_FRAME_PAYLOAD_DATA, "no connection id")
            raise Closed(CloseReason.INVALID_FRAME_PAYLOAD_DATA, str(error)) from error
        if len(agent_id) > MAX_ID_CHARS or any(character < FIRST_PRINTABLE for character in agent_id):
            websocket.hang_up(CloseReason.POLICY_VIOLATION, "no such id")
            raise Closed(CloseReason.POLICY_VIOLATION, BAD_ID)
        return Session(websocket, agent_id, token_id)

    def _listen(self, session: Session) -> None:
        self._registry.add(session)
        log.info("agent.joined", agent=session.agent_id)
        closed = Closed(CloseReason.INTERNAL_ERROR)
        try:
            while True:
                session.hear(session.websocket.receive())
                if session.left_out_at is not None:
                    self._registry.bring_back(session)
        except Closed as error:
            closed = error
        finally:
            self._registry.remove(session)
            session.end(closed)
            log.info("agent.left", agent=session.agent_id, reason=str(closed))
