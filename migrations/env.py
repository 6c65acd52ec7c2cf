"""Runs the migrations against the database of the settings."""

import sys

from alembic import context
from sqlalchemy.exc import OperationalError

from migrations.one_at_a_time import one_at_a_time
from shared.config import settings
from shared.database import Database
from shared.models import Base
from shared.postgresql import TimeLimits
from shared.security.private_files import protect

LIMITS = TimeLimits(statement_ms=0, lock_ms=5_000)
"""What has much to do may take its time, but not waiting for a table in use: all who come behind wait as long."""
TRIES = 5
LOCK_NOT_AVAILABLE = "55P03"

database = Database(settings().database, connections=2, limits=LIMITS)
protect(settings())


def migrate() -> None:
    """Migrate, in a transaction for each step."""
    with database.engine.connect() as connection:
        # A constraint of SQLite can only be altered by copying its table, hence the batch mode.
        context.configure(
            connection=connection, target_metadata=Base.metadata, render_as_batch=True, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()


def migrate_patiently() -> None:
    """Migrate, and again from where it broke off when a table was in use for too long."""
    for tries_left in reversed(range(TRIES)):
        try:
            return migrate()
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE or not tries_left:
                raise
    return None


try:
    with one_at_a_time(database.engine):
        migrate_patiently()
except OperationalError as error:
    sys.stderr.write(f"chatrelay: cannot migrate: the database of DATABASE_URL does not answer: {error.orig}\n")
    raise SystemExit(1) from None
finally:
    database.engine.dispose()
