"""Ask the database, at each heartbeat and for all readers of a process at once, which followed jobs are over."""

import threading
import time

import structlog
from sqlalchemy import select

from api.streaming.hub import Hub
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.models import UNFINISHED, Job

IDS_PER_QUERY = 5_000

log = structlog.get_logger(__name__)


class Endings:
    """The question of one process, asked in a thread of its own."""

    def __init__(self, database: Database, hub: Hub, seconds: float) -> None:
        """Ask every so many seconds, once started."""
        self._lock = threading.Lock()
        self._has_started = False
        self._database = database
        self._hub = hub
        self._seconds = seconds

    def start(self) -> None:
        """Ask from now on for as long as the process lives; a second call changes nothing."""
        with self._lock:
            if not self._has_started:
                self._has_started = True
                threading.Thread(target=self._run, name="endings", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._seconds)
            try:
                self._ask(self._hub.followed())
            except DatabaseUnavailable as error:
                log.warning("endings.database_away", error=str(error.__cause__))
            except Exception:
                # The thread's boundary: without it readers might wait for endings that nobody published.
                log.exception("endings.broken")

    def _ask(self, followed: list[str]) -> None:
        for start in range(0, len(followed), IDS_PER_QUERY):
            some = followed[start : start + IDS_PER_QUERY]
            with self._database.read() as session:
                running = set(session.scalars(select(Job.id).where(Job.id.in_(some), Job.status.in_(UNFINISHED))))
            self._hub.end(job_id for job_id in some if job_id not in running)
