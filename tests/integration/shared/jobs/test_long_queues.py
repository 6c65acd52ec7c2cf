"""However many jobs wait: a claim, and the counts of a submission, look at a few rows. PostgreSQL counts them (EXPLAIN ANALYZE).

The table is filled behind the statistics' back, as a queue that builds up within a minute is: the planner believes it to be empty.
"""

import pytest
from sqlalchemy import func, select, text

from shared.database import Database
from shared.jobs import claiming
from shared.models import Job
from shared.models.job import is_waiting
from tests.integration.explaining import rows_touched
from tests.integration.jobs import MAX_LOST_WORKERS

FINISHED = 20_000
WAITING = 4_000
FEW_ROWS = 2_500
"""Rows that all steps of a claim touch: 50 candidates and 50 users, several times each."""

COLUMNS = (
    "id, user_id, conversation_id, position, status, kind, model, request, on_interrupt, labels, wire, stored, attempt, log_seq, "
    "deadline_ms, provider_errors, lost_workers, created_ms, finished_ms, log_closed"
)
REST = "'chat', 'demo', '{}', 'restart', '{}', 'job', true, 0, 0, 99999999999999, 0, 0"


@pytest.fixture(scope="module")
def filled(postgresql: Database) -> Database:
    """A database of finished jobs, which the statistics know, and of waiting ones, which they do not: in turns of conversations."""
    users = "SELECT 'user_' || n, 'user' || n, '-', false, 0, 0 FROM generate_series(1, 200) AS n"
    with postgresql.write() as session:
        session.execute(text(f"INSERT INTO users (id, username, password_hash, is_admin, used_tokens, created_ms) {users}"))
        conversations = "SELECT 'conv_' || n, 'user_' || n, 0, 0 FROM generate_series(1, 200) AS n"
        session.execute(text(f"INSERT INTO conversations (id, user_id, last_position, created_ms) {conversations}"))
        owner, series = "'user_' || (n % 200 + 1)", "FROM generate_series(1, :most) AS n"
        finished = f"SELECT 'job_f' || n, {owner}, NULL, NULL::int, 'completed', {REST}, n, n, true {series}"
        session.execute(text(f"INSERT INTO jobs ({COLUMNS}) {finished}"), {"most": FINISHED})
    with postgresql.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    with postgresql.write() as session:
        turn = "'conv_' || (n % 200 + 1), n"
        waiting = f"SELECT 'job_w' || n, {owner}, {turn}, 'queued', {REST}, n, NULL::bigint, false {series}"
        session.execute(text(f"INSERT INTO jobs ({COLUMNS}) {waiting}"), {"most": WAITING})
    return postgresql


@pytest.mark.parametrize("from_user", ["", "user_150"])
def test_a_claim_looks_at_a_few_jobs(filled: Database, from_user: str) -> None:
    statement = claiming.next_job(MAX_LOST_WORKERS, claiming.UNLIMITED, orphans=True).params(from_user=from_user)

    assert 0 < rows_touched(filled, statement) < FEW_ROWS


def test_a_count_looks_no_further_than_its_bound(filled: Database) -> None:
    of_user = select(Job.id).where(Job.user_id == "user_7", is_waiting()).order_by(Job.user_id, Job.created_ms).limit(10)

    assert rows_touched(filled, select(func.count()).select_from(of_user.subquery())) == 10
