"""Indexes by which retention finds what is old without reading all that is young."""

from migrations.indexes import create_index, drop_index


revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("ix_conversations_created_ms", "conversations", ["created_ms"])
    create_index("ix_webhook_deliveries_created_ms", "webhook_deliveries", ["created_ms"])


def downgrade() -> None:
    drop_index("ix_webhook_deliveries_created_ms", "webhook_deliveries")
    drop_index("ix_conversations_created_ms", "conversations")
