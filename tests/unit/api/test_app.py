"""`create_app` composes an app of the settings that it is given, and of nothing else; and it starts nothing."""

import threading
from pathlib import Path

from api.app import create_app
from api.context import EXTENSION, Context
from dev.testing.stack import SECRET_KEY
from shared.config import Settings


def composed(folder: Path, redis_port: int) -> Context:
    config = Settings(secret_key=SECRET_KEY, data_dir=folder, redis_url=f"redis://127.0.0.1:{redis_port}/0")
    context: Context = create_app(config).extensions[EXTENSION]
    return context


def test_two_apps_of_one_process_have_parts_of_their_own(tmp_path: Path) -> None:
    one, other = composed(tmp_path / "one", 1), composed(tmp_path / "other", 2)

    assert [context.queue.celery.conf.broker_url for context in (one, other)] == [
        "redis://127.0.0.1:1/0",
        "redis://127.0.0.1:2/0",
    ]
    assert one.database.engine.url != other.database.engine.url


def test_no_thread_starts_before_it_is_needed(tmp_path: Path) -> None:
    """A command such as `make-admin` makes an app, too."""
    before = set(threading.enumerate())
    composed(tmp_path, 1)

    assert set(threading.enumerate()) <= before  # those of earlier tests may end meanwhile
