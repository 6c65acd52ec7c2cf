"""Asks that arrive from workers: each is accepted, put to its agent, and its outcome left for the worker."""

import threading
import time

import structlog
from redis import Redis
from wsproto.frame_protocol import CloseReason

from api.agents.registry import Registry
from api.agents.session import Session, now_us
from shared import keyspace
from shared.agents import presence, requests
from shared.agents.presence import News
from shared.agents.requests import Ask, Outcome, Trouble
from shared.config import Settings
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.models import ApiToken
from shared.redis_clients import RedisError

SETTLE_SECONDS = 10.0
"""How long an outcome is kept here while Redis is away; its worker looks for it meanwhile."""
SETTLE_AGAIN_SECONDS = 0.2

log = structlog.get_logger(__name__)


class Service:
    """Puts workers' asks to this process' agents."""

    def __init__(self, config: Settings, database: Database, redis: Redis, registry: Registry) -> None:
        """Prepare."""
        self._config = config
        self._database = database
        self._redis = redis
        self._registry = registry

    def take(self, mail: bytes) -> None:
        """Take what came by mail. Never waits for an agent."""
        letter = requests.letter(mail)
        if isinstance(letter, str):
            return self._registry.evict(letter)
        session = self._registry.find(letter.connection)
        if session is None or not session.is_seated or not session.take(letter.id):
            return self._refuse(letter)
        threading.Thread(target=self._serve, args=(session, letter), name="agent-ask", daemon=True).start()
        return None

    def _refuse(self, ask: Ask) -> None:
        """Tell the worker to look for another; nothing was asked."""
        try:
            self._redis.publish(keyspace.agent_news_channel(ask.worker), presence.news(News.REFUSED, ask.id))
        except RedisError as error:
            log.warning("agent.redis_away", error=str(error))  # what nobody accepts, its worker withdraws

    def _serve(self, session: Session, ask: Ask) -> None:
        try:
            if self._may_be_asked(session) and self._accept(session, ask):
                self._settle(session, ask, self._outcome(session, ask))
            else:
                self._refuse(ask)
        except RedisError as error:
            log.warning("agent.redis_away", error=str(error))
        finally:
            session.let_go(ask.id)

    def _may_be_asked(self, session: Session) -> bool:
        """See whether the token that let the agent in is still good; an agent whose token was deleted is sent away."""
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

    def _accept(self, session: Session, ask: Ask) -> bool:
        """Accept an ask, if its worker still wants it: what is only taken may have been withdrawn, and is nobody's business yet."""
        session.used_us = now_us()
        command = presence.accept_command(session.agent_id, ask.id, ask.worker, requests.most_ms(self._config))
        stands = bool(self._redis.execute_command(*command))
        session.accepted_id = ask.id if stands else ""
        return stands

    def _outcome(self, session: Session, ask: Ask) -> Outcome:
        try:
            outcome = session.ask(ask.request, self._config.agent_ping_seconds, self._config.agent_answer_seconds)
        except Exception:
            log.exception("agent.broken", agent=session.agent_id)
            return Outcome(
                trouble=Trouble.READ_FAILED, message="Something went wrong on our side.", details={"err": "internal error"}
            )
        if outcome.answer is not None:
            session.heard_us = now_us()
        if outcome.trouble is Trouble.PING_FAILED and ask.opens and not outcome.has_left:
            self._registry.leave_out(session)
        return outcome

    def _settle(self, session: Session, ask: Ask, outcome: Outcome) -> None:
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                return self._registry.settle(session, ask, outcome)
            except RedisError:
                if time.monotonic() > until:
                    raise
                time.sleep(SETTLE_AGAIN_SECONDS)
