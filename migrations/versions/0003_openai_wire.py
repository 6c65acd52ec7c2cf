"""What OpenAI's wire says of a job and of a conversation besides what is asked; which turns failed."""

import sqlalchemy as sa
from alembic import op


revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("labels", sa.JSON(), server_default="{}", nullable=False))

    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("failed_turn", sa.Integer(), nullable=True))

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("wire", sa.String(length=32), server_default="job", nullable=False))
        batch_op.add_column(sa.Column("wire_request", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("stored", sa.Boolean(), server_default=sa.true(), nullable=False))
        batch_op.create_index(
            "ix_jobs_not_stored",
            ["finished_ms"],
            unique=False,
            postgresql_where=sa.text("NOT stored"),
            sqlite_where=sa.text("NOT stored"),
        )


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_not_stored", postgresql_where=sa.text("NOT stored"), sqlite_where=sa.text("NOT stored"))
        batch_op.drop_column("stored")
        batch_op.drop_column("wire_request")
        batch_op.drop_column("wire")

    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_column("failed_turn")

    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_column("labels")
