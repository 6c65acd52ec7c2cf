"""Retention: what is old goes, what is young or still runs stays."""

from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text, update

from shared.database import Database, now_ms, now_once
from shared.ids import new_id
from shared.models import Base, Conversation, IdempotencyKey, Job, Message, RefreshToken, Status, User
from shared.timestamps import DAY_MS
from tests.integration.explaining import rows_touched
from workers import pruning, sweep
from workers.pruning import prune

OLD_DAYS = 100
UNSTORED_SECONDS = 3_600.0
ROWS = 5_000
FEW_ROWS = 10


def days_ago(database: Database, days: int) -> int:
    with database.read() as session:
        return session.scalar(select(now_ms() - days * DAY_MS)) or 0


def add_conversation(database: Database, user_id: str, at_ms: int, status: Status = Status.COMPLETED) -> str:
    """Add a conversation with one message and one job, all of one moment."""
    conversation = Conversation(id=new_id("conv"), user_id=user_id, created_ms=at_ms)
    finished_ms = at_ms if status.is_terminal else None
    job = Job(id=new_id("job"), user_id=user_id, status=status, model="m", request={}, deadline_ms=at_ms, created_ms=at_ms)
    job.conversation_id, job.position, job.finished_ms = conversation.id, 1, finished_ms
    message = Message(id=new_id("msg"), conversation_id=conversation.id, role="user", body={"content": "x"}, created_ms=at_ms)
    with database.write() as session:
        session.add(conversation)
        session.flush()
        session.add_all([job, message])
    return conversation.id


@pytest.fixture
def user_id(database: Database) -> str:
    user = User(id=new_id("user"), username="ann", password_hash="x")
    with database.write() as session:
        session.add(user)
    return user.id


def count(database: Database, table: type[Base]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_old_conversations_go_whole_and_young_ones_stay(database: Database, user_id: str) -> None:
    old, young = days_ago(database, OLD_DAYS), days_ago(database, 1)
    add_conversation(database, user_id, old)
    kept = {add_conversation(database, user_id, young), add_conversation(database, user_id, old, Status.IN_PROGRESS)}
    assert prune(database, 90, UNSTORED_SECONDS) == 1
    with database.read() as session:
        assert set(session.scalars(select(Conversation.id))) == kept
        assert {job.conversation_id for job in session.scalars(select(Job))} == kept
        assert {message.conversation_id for message in session.scalars(select(Message))} == kept


def test_a_turn_that_is_just_being_accepted_keeps_its_conversation(database: Database, user_id: str) -> None:
    old = days_ago(database, OLD_DAYS)
    conversation = add_conversation(database, user_id, old)
    with ThreadPoolExecutor(1) as threads:
        with database.write() as session:
            session.execute(update(Conversation).where(Conversation.id == conversation).values(last_position=2))
            job = Job(id=new_id("job"), user_id=user_id, status=Status.QUEUED, model="m", request={}, deadline_ms=old)
            job.conversation_id, job.position = conversation, 2
            session.add(job)
            session.flush()
            pruning = threads.submit(prune, database, 90, UNSTORED_SECONDS)
            futures.wait([pruning], 0.5)  # it goes round the conversation; or waits, where there is one writer at a time
        pruning.result(30)
    with database.read() as session:
        assert session.get(Job, job.id) is not None


def test_an_old_conversation_that_is_still_spoken_in_keeps_its_messages(database: Database, user_id: str) -> None:
    conversation = add_conversation(database, user_id, days_ago(database, OLD_DAYS))
    with database.write() as session:
        session.add(Message(id=new_id("msg"), conversation_id=conversation, role="user", body={"content": "again"}))
    assert prune(database, 90, UNSTORED_SECONDS) == 1  # its old job, which nobody looks up any more
    assert (count(database, Conversation), count(database, Message), count(database, Job)) == (1, 2, 0)


def test_zero_days_keep_for_ever_but_for_what_is_spent(database: Database, user_id: str) -> None:
    add_conversation(database, user_id, days_ago(database, OLD_DAYS))
    with database.write() as session:
        job_id = session.scalars(select(Job.id)).one()
        session.add(IdempotencyKey(user_id=user_id, key="k", body_hash="h", job_id=job_id))
        session.add(RefreshToken(id="spent", family="f", user_id=user_id, expires_ms=0))
        session.add(RefreshToken(id="good", family="f", user_id=user_id, expires_ms=2**60))
        session.flush()
        session.execute(update(IdempotencyKey).values(created_ms=0))
    assert prune(database, 0, UNSTORED_SECONDS) == 2
    assert (count(database, Conversation), count(database, Job), count(database, IdempotencyKey)) == (1, 1, 0)
    with database.read() as session:
        assert session.scalars(select(RefreshToken.id)).all() == ["good"]


def test_more_than_a_batch_goes_in_batches(database: Database, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    for _ in range(5):
        add_conversation(database, user_id, days_ago(database, OLD_DAYS))
    assert prune(database, 90, UNSTORED_SECONDS) == 5
    assert count(database, Conversation) == 0


def test_what_was_not_to_be_stored_goes_soon_after_its_end(database: Database, user_id: str) -> None:
    two_hours_ago = days_ago(database, 0) - 7_200_000
    for at_ms in (two_hours_ago, two_hours_ago, days_ago(database, 0)):
        add_conversation(database, user_id, at_ms)
    with database.write() as session:
        kept, *unstored = session.scalars(select(Job.id).order_by(Job.finished_ms))
        session.execute(update(Job).where(Job.id.in_(unstored)).values(stored=False))
    assert prune(database, 0, UNSTORED_SECONDS) == 1
    with database.read() as session:
        assert set(session.scalars(select(Job.id))) == {kept, unstored[-1]}


@pytest.fixture
def filled(postgresql: Database) -> Database:
    """A database in which nothing is past its retention, but much is there: jobs, conversations, deliveries, keys and tokens."""
    rows, at = "FROM generate_series(1, :most) AS n", "(extract(epoch FROM now()) * 1000)::bigint"
    statements = [
        f"INSERT INTO users (id, username, password_hash, is_admin, created_ms) VALUES ('u', 'u', '-', false, {at})",
        f"INSERT INTO conversations (id, user_id, last_position, created_ms) SELECT 'c' || n, 'u', 0, {at} {rows}",
        "INSERT INTO jobs (id, user_id, status, kind, model, request, on_interrupt, labels, wire, stored, attempt, log_seq, "
        "deadline_ms, provider_errors, lost_workers, created_ms, finished_ms, log_closed) SELECT 'j' || n, 'u', 'completed', "
        f"'chat', 'm', '{{}}', 'restart', '{{}}', 'job', n % 2 = 0, 0, 0, 0, 0, 0, {at}, {at}, true {rows}",
        f"INSERT INTO idempotency_keys (user_id, key, body_hash, job_id, created_ms) SELECT 'u', n, '-', 'j' || n, {at} {rows}",
        f"INSERT INTO refresh_tokens (id, family, user_id, expires_ms) SELECT 't' || n, 'f', 'u', 2 * {at} {rows}",
        "INSERT INTO webhook_endpoints (id, user_id, name, url, event_types, secret, secret_hint, enabled, created_ms, updated_ms) "
        f"VALUES ('e', 'u', 'n', 'http://x', '[]', '-', '-', true, {at}, {at})",
        "INSERT INTO webhook_deliveries (id, endpoint_id, response_id, event_type, tries, created_ms) "
        f"SELECT 'd' || n, 'e', 'r', 'x', 1, {at} {rows}",
    ]
    with postgresql.write() as session:
        session.execute(text("TRUNCATE users CASCADE"))
        for statement in statements:
            session.execute(text(statement), {"most": ROWS} if ":most" in statement else {})
    with postgresql.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return postgresql


def test_what_is_young_is_not_looked_at(filled: Database) -> None:
    before_ms = now_once() - 90 * DAY_MS
    searches = [
        pruning._expired_tokens(),
        pruning._old_keys(),
        pruning._unstored_jobs(now_once() - 3_600_000),
        pruning._old_jobs(before_ms),
        pruning._old_deliveries(before_ms),
        select(Conversation.id).where(pruning._is_silent(before_ms)).limit(500),
        select(sweep._unclosed().exists()),
    ]
    assert max(rows_touched(filled, each) for each in searches) < FEW_ROWS
    assert prune(filled, 90, UNSTORED_SECONDS) == 0
