"""Jobs to test with: queued, claimed, orphaned, as a worker or a sweep would find them."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import undefer

from shared.database import Database, now_ms
from shared.ids import new_id
from shared.jobs import claiming
from shared.models import Conversation, Job, Message, Status, User

LEASE_MS = 60_000
MINUTE_MS = 60_000
MAX_LOST_WORKERS = 5


class Jobs:
    """The jobs of one database. Each that is queued is a millisecond younger than the one before."""

    def __init__(self, database: Database) -> None:
        """Begin with none."""
        self.database = database
        self._count = 0

    def user(self) -> str:
        """Make a user."""
        user = User(id=new_id("user"), username=new_id("name"), password_hash="-")
        with self.database.write() as session:
            session.add(user)
        return user.id

    def conversation(self, user: str | None = None) -> str:
        """Make a conversation."""
        conversation = Conversation(id=new_id("conv"), user_id=user or self.user())
        with self.database.write() as session:
            session.add(conversation)
        return conversation.id

    def queue(self, user: str | None = None, conversation: str | None = None, **columns: Any) -> str:
        """Queue a job, in a conversation or without one, and return its id."""
        self._count += 1
        defaults = {
            "status": Status.QUEUED,
            "model": "demo",
            "request": {"messages": [{"role": "user", "content": "Hello"}]},
            "created_ms": now_ms() - MINUTE_MS + self._count,
            "deadline_ms": now_ms() + MINUTE_MS,
        }
        with self.database.write() as session:
            if conversation is not None:
                owner = session.scalar(select(Conversation.user_id).where(Conversation.id == conversation))
                message = Message(id=new_id("msg"), conversation_id=conversation, role="user", body={"content": "Hello"})
                session.add(message)
                turn = {"user_message_id": message.id, "answer_id": new_id("msg"), "position": self._count, "request": {}}
                defaults |= {"user_id": owner, "conversation_id": conversation, **turn}
            job = Job(id=new_id("job"), **({**defaults, "user_id": user} if user else defaults) | columns)
            if job.user_id is None:
                job.user_id = new_id("user")
                session.add(User(id=job.user_id, username=job.user_id, password_hash="-"))
                session.flush()
            session.add(job)
        return job.id

    def claim(self, owner: str = "worker_1", *, epoch: str = "e", orphans: bool = True, **limits: int) -> Job | None:
        """Claim the job that is next."""
        bounds = {"max_lost_workers": MAX_LOST_WORKERS, **limits}
        with self.database.write() as session:
            return claiming.claim(session, owner, lease_ms=LEASE_MS, epoch=epoch, orphans=orphans, **bounds)

    def claimed(self, **columns: Any) -> Job:
        """Queue a job and claim it."""
        job_id = self.queue(**columns)
        job = self.claim()
        assert job is not None
        assert job.id == job_id
        return job

    def claim_all(self) -> list[str]:
        """Claim until there is nothing left, and return the ids in that order."""
        claimed = []
        while job := self.claim():
            claimed.append(job.id)
        return claimed

    def set(self, job_id: str, **columns: Any) -> None:
        """Change a job's columns by force; a job that is over has the moment of its end."""
        if getattr(columns.get("status"), "is_terminal", False):
            columns = {"finished_ms": now_ms(), "owner": None, **columns}
        with self.database.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(columns), execution_options={"synchronize_session": False})

    def lapse(self, job_id: str) -> None:
        """Let a job's lease run out."""
        self.set(job_id, lease_until_ms=now_ms() - 1)

    def row(self, job_id: str) -> Job:
        """Look at a job, with its archive."""
        with self.database.read() as session:
            return session.get_one(Job, job_id, options=[undefer(Job.archive)])
