"""Indexes by which a claim, and the counts of a submission, do not grow with the queue."""

import sqlalchemy as sa
from alembic import op


revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UNFINISHED = sa.text("status IN ('queued', 'in_progress')")
OPEN = sa.text("finished_ms IS NULL")
OVER = sa.text("finished_ms IS NOT NULL")
WAITING = sa.text("finished_ms IS NULL AND owner IS NULL")


def upgrade() -> None:
    op.create_index(
        "ix_jobs_open_in_conversation", "jobs", ["conversation_id", "position"], postgresql_where=OPEN, sqlite_where=OPEN
    )
    op.create_index("ix_jobs_waiting_of_user", "jobs", ["user_id", "created_ms"], postgresql_where=WAITING, sqlite_where=WAITING)
    op.drop_index("ix_jobs_unfinished_in_conversation", table_name="jobs")
    op.drop_index("ix_jobs_unfinished_of_user", table_name="jobs")
    op.drop_index("ix_jobs_finished_ms", table_name="jobs")
    op.create_index("ix_jobs_finished_ms", "jobs", ["finished_ms"], postgresql_where=OVER, sqlite_where=OVER)


def downgrade() -> None:
    op.create_index(
        "ix_jobs_unfinished_of_user", "jobs", ["user_id", "status"], postgresql_where=UNFINISHED, sqlite_where=UNFINISHED
    )
    op.create_index(
        "ix_jobs_unfinished_in_conversation",
        "jobs",
        ["conversation_id", "position"],
        postgresql_where=UNFINISHED,
        sqlite_where=UNFINISHED,
    )
    op.drop_index("ix_jobs_waiting_of_user", table_name="jobs")
    op.drop_index("ix_jobs_open_in_conversation", table_name="jobs")
    op.drop_index("ix_jobs_finished_ms", table_name="jobs")
    op.create_index("ix_jobs_finished_ms", "jobs", ["finished_ms"])
