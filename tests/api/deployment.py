"""A deployment to test: API processes and workers on one Redis and one database of their own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from sqlalchemy import delete, func, select

from dev.testing.client import Client
from dev.testing.stack import Redis, Stack, running, wait_until
from shared.database import Database
from shared.ids import new_id
from shared.models import Conversation, IdempotencyKey, Job, Message, User
from shared.redis import keyspace
from tests.api.tokens import access_token

STORED = (Job, Conversation, Message, IdempotencyKey)


@dataclass(frozen=True)
class Deployment:
    """A stack, with the Redis and the database that it is on."""

    stack: Stack
    redis: Redis
    database: Database
    users: list[Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The first API process' address."""
        return self.stack.url

    def user(self) -> Client:
        """Add a user and log in. The row is written here, since hashing a password takes a tenth of a second."""
        user_id = new_id("user")
        with self.database.write() as session:
            session.add(User(id=user_id, username=user_id, password_hash=""))
        self.users.append(Client(self.url, access_token(user_id)))
        return self.users[-1]

    def rows(self) -> list[int]:
        """Count the rows that submissions leave behind."""
        with self.database.read() as session:
            return [session.scalar(select(func.count()).select_from(table)) or 0 for table in STORED]

    def ring_for(self, job_id: str) -> bytes:
        """Return a job's doorbell where no worker takes it; waits, since it is sent after the submission is answered."""
        wait_until(lambda: self._rings_for(job_id), "the doorbell of a job")
        return self._rings_for(job_id)[0]

    def _rings_for(self, job_id: str) -> list[bytes]:
        queued = cast("list[bytes]", self.redis.client.lrange(keyspace.DOORBELL_QUEUE, 0, -1))
        return [message for message in queued if job_id.encode() in message]

    def traces(self) -> list[int]:
        """Count rows and doorbells. Another job, which is not counted, makes sure that all earlier doorbells are in the queue."""
        last = self.user()
        job_id = last.submit()["id"]
        self.ring_for(job_id)
        rings = int(self.redis.client.llen(keyspace.DOORBELL_QUEUE))
        self.redis.client.lrem(keyspace.DOORBELL_QUEUE, 1, self.ring_for(job_id).decode())
        with self.database.write() as session:
            session.execute(delete(Conversation).where(Conversation.id == last.job(job_id)["conversation_id"]))
        return [*self.rows(), rings - 1]


@contextmanager
def deployed(folder: Path, database_url: str, settings: Mapping[str, str], *, workers: int = 1) -> Iterator[Deployment]:
    """Start a deployment, and end all of it."""
    redis = Redis(folder)
    database = Database(database_url)
    users: list[Client] = []
    try:
        with running(Stack(folder, redis.url, database_url, **settings), workers=workers) as stack:
            yield Deployment(stack, redis, database, users)
    finally:
        for user in users:
            user.close()
        database.engine.dispose()
        redis.close()
