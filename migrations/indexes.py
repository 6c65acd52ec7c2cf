"""Make and remove indexes of tables that may be big: on PostgreSQL without a lock that keeps writers waiting.

A build that broke off leaves an index that is not valid; it is removed before the next one.
"""

from typing import Any

from alembic import op
from sqlalchemy import text

INVALID = text(
    "SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = pg_index.indexrelid WHERE pg_class.relname = :name AND NOT indisvalid"
)


def create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    """Make an index; `options` are those of Alembic's `create_index`."""
    if op.get_bind().dialect.name != "postgresql":
        op.create_index(name, table, columns, **options)
        return
    with op.get_context().autocommit_block():
        if op.get_bind().execute(INVALID, {"name": name}).first():
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, if_not_exists=True, **options)


def drop_index(name: str, table: str) -> None:
    """Remove an index."""
    if op.get_bind().dialect.name != "postgresql":
        op.drop_index(name, table_name=table)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
