"""Databases with our tables, made by the migrations."""

import pytest
from alembic import command
from alembic.config import Config

from dev.paths import ROOT
from shared.config import settings
from shared.database import Database


def migrate(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the migrations on the database of this URL."""
    monkeypatch.setenv("DATABASE_URL", url)
    settings.cache_clear()
    command.upgrade(Config(ROOT / "alembic.ini"), "head")
    monkeypatch.delenv("DATABASE_URL")
    settings.cache_clear()


def migrated(url: str) -> Database:
    """Open the database of this URL, once it has our tables."""
    with pytest.MonkeyPatch.context() as environment:
        migrate(url, environment)
    return Database(url)
