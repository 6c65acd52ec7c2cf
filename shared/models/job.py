"""A job's row and its states. When a state changes is said by `shared/jobs/claiming.py` and `shared/jobs/lifecycle.py`."""

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, ForeignKey, Index, LargeBinary, String, UniqueConstraint, and_, literal_column, text, true
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import MODEL_CHARS, WORD_CHARS, Base, CreatedMs, Id, Milliseconds, PrimaryId, word

KEY_CHARS = 255
HASH_CHARS = 64
KEY_SECONDS = 24 * 3_600
"""How long a client's own idempotency key stands for its job; after that no key of any kind stands for one."""


class Status(StrEnum):
    """Where a job is; OpenAI's six words."""

    QUEUED = "queued"  # The job waits for a worker.
    IN_PROGRESS = "in_progress"  # A worker holds the job, or held it and has not been missed yet.
    COMPLETED = "completed"  # The model said all it had to say.
    FAILED = "failed"  # No answer could be had; `error` says why.
    CANCELLED = "cancelled"  # Its owner asked for it to stop.
    INCOMPLETE = "incomplete"  # The answer was cut: a token limit, a content filter or a size limit.

    @property
    def is_terminal(self) -> bool:
        """Whether the job is over."""
        return self not in UNFINISHED

    @property
    def has_answer(self) -> bool:
        """Whether the job ended with an answer, whole or cut."""
        return self in ANSWERED


UNFINISHED = (Status.QUEUED, Status.IN_PROGRESS)
ANSWERED = (Status.COMPLETED, Status.INCOMPLETE)

# The conditions of the indexes of jobs that are not over. PostgreSQL believes each of them to be nearly empty while its statistics
# are older than the queue, and would then rather read all of another one than look into the right one. So each is worded in its own
# way, and a statement has only one that fits: by the status, by age; by `is_open`, in a conversation; by `is_waiting`, of a user.
_UNFINISHED_SQL = text("status IN ('queued', 'in_progress')")
_OPEN_SQL = text("finished_ms IS NULL")
_OVER_SQL = text("finished_ms IS NOT NULL")
_WAITING_SQL = text("finished_ms IS NULL AND owner IS NULL")


class Kind(StrEnum):
    """What is asked of the provider."""

    CHAT = "chat"  # An answer.
    EMBEDDING = "embedding"  # Vectors of the input; the answer's text is the list of embeddings as JSON.
    MODERATION = "moderation"  # A judgement of the message; the answer's text is the moderation object as JSON.


class ObjectType(StrEnum):
    """In whose words a job was asked, and so under which kind of id it is known there."""

    JOB = "job"  # Our own, or a dialect's that has no jobs of its own.
    CHAT_COMPLETION = "chat.completion"  # OpenAI's chat completions.
    RESPONSE = "response"  # OpenAI's responses.


class OnInterrupt(StrEnum):
    """What happens when an attempt breaks off after text was shown."""

    RESTART = "restart"  # The answer begins anew; readers are told to drop the text.
    FAIL = "fail"  # The job fails, its text so far is kept.


class Job(Base):
    """One question to a model, with everything that is needed to ask it again.

    `attempt` fences every write: a claim, a retry, and an end by somebody without the lease raise it by one, and every later
    write names the attempt it believes in. `answer_id` is fixed at once, so that the next turn can already name its parent.
    `wire_request` is what the request said in its wire's own words beyond what is asked of the model; it never changes, so that
    whatever is derived from it and from the log is the same each time. A job that is not `stored` goes soon after its end.
    """

    __tablename__ = "jobs"

    id: Mapped[PrimaryId]
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    conversation_id: Mapped[Id | None] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    position: Mapped[int | None]
    user_message_id: Mapped[Id | None]
    answer_id: Mapped[Id | None]
    status: Mapped[Status] = mapped_column(word(Status))

    # What was asked
    kind: Mapped[Kind] = mapped_column(word(Kind), default=Kind.CHAT, server_default=Kind.CHAT.value)
    model: Mapped[str] = mapped_column(String(MODEL_CHARS))
    request: Mapped[dict[str, Any]]
    on_interrupt: Mapped[OnInterrupt] = mapped_column(word(OnInterrupt), default=OnInterrupt.RESTART)
    labels: Mapped[dict[str, Any]] = mapped_column(default=dict)
    wire: Mapped[ObjectType] = mapped_column(word(ObjectType), default=ObjectType.JOB, server_default=ObjectType.JOB.value)
    wire_request: Mapped[dict[str, Any] | None]
    stored: Mapped[bool] = mapped_column(default=True, server_default=true())

    # The fence and the lease
    attempt: Mapped[int] = mapped_column(default=0)
    owner: Mapped[Id | None]
    lease_until_ms: Mapped[Milliseconds | None]
    log_seq: Mapped[int] = mapped_column(default=0)
    log_epoch: Mapped[str | None] = mapped_column(String(HASH_CHARS))
    cancel_requested_ms: Mapped[Milliseconds | None]
    not_before_ms: Mapped[Milliseconds | None]
    deadline_ms: Mapped[Milliseconds]
    rung_ms: Mapped[Milliseconds | None]

    # The budgets
    provider_errors: Mapped[int] = mapped_column(default=0)
    lost_workers: Mapped[int] = mapped_column(default=0)
    requeued_for: Mapped[str | None] = mapped_column(String(WORD_CHARS))

    # What came of it
    created_ms: Mapped[CreatedMs]
    started_ms: Mapped[Milliseconds | None]
    first_token_ms: Mapped[Milliseconds | None]
    finished_ms: Mapped[Milliseconds | None]
    finish_reason: Mapped[str | None] = mapped_column(String(WORD_CHARS))
    message: Mapped[dict[str, Any] | None]
    usage: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    last_seq: Mapped[int | None]
    archive: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    log_closed: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        UniqueConstraint("conversation_id", "position"),
        # One job of a conversation runs at a time; the claim's own check is only there to choose well.
        Index(
            "uq_jobs_running_per_conversation",
            "conversation_id",
            unique=True,
            postgresql_where=text("status = 'in_progress'"),
            sqlite_where=text("status = 'in_progress'"),
        ),
        Index(
            "ix_jobs_unfinished",
            "status",
            "created_ms",
            postgresql_where=_UNFINISHED_SQL,
            sqlite_where=_UNFINISHED_SQL,
        ),
        Index(
            "ix_jobs_open_in_conversation",
            "conversation_id",
            "position",
            postgresql_where=_OPEN_SQL,
            sqlite_where=_OPEN_SQL,
        ),
        Index(
            "ix_jobs_waiting_of_user",
            "user_id",
            "created_ms",
            postgresql_where=_WAITING_SQL,
            sqlite_where=_WAITING_SQL,
        ),
        Index("ix_jobs_finished_ms", "finished_ms", postgresql_where=_OVER_SQL, sqlite_where=_OVER_SQL),
        Index(
            "ix_jobs_log_open",
            "finished_ms",
            postgresql_where=text("NOT log_closed"),
            sqlite_where=text("NOT log_closed"),
        ),
        Index(
            "ix_jobs_not_stored",
            "finished_ms",
            postgresql_where=text("NOT stored"),
            sqlite_where=text("NOT stored"),
        ),
        Index("ix_jobs_user_id_created_ms", "user_id", "created_ms", "id"),
    )


QUEUED: ColumnElement[Any] = literal_column("'queued'")
IN_PROGRESS: ColumnElement[Any] = literal_column("'in_progress'")
"""Statuses for hot statements: no parameters, since a plan that is kept must still know which index fits."""


def is_open(job: type[Job] = Job) -> ColumnElement[bool]:
    """Return the condition that a job is not over, worded for the index of a conversation's open jobs."""
    return job.finished_ms.is_(None)


def is_waiting(job: type[Job] = Job) -> ColumnElement[bool]:
    """Return the condition that a job is queued, worded for the index of a user's waiting jobs."""
    return and_(job.finished_ms.is_(None), job.owner.is_(None))


class IdempotencyKey(Base):
    """A promise that the same request under the same key is the same job."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(KEY_CHARS), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(HASH_CHARS))
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_ms: Mapped[CreatedMs] = mapped_column(index=True)
