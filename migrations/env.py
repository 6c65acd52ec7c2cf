"""Runs the migrations against the database of the settings."""

import sys

from alembic import context
from sqlalchemy.exc import OperationalError

from shared.config import settings
from shared.database import Database
from shared.models import Base

database = Database(settings().database)
if database.is_sqlite:
    settings().data_dir.mkdir(parents=True, exist_ok=True)

try:
    with database.engine.connect() as connection:
        # A constraint of SQLite can only be altered by copying its table, hence the batch mode.
        context.configure(
            connection=connection, target_metadata=Base.metadata, render_as_batch=True, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
except OperationalError as error:
    sys.stderr.write(f"chatrelay: cannot migrate: the database of DATABASE_URL does not answer: {error.orig}\n")
    raise SystemExit(1) from None
finally:
    database.engine.dispose()
