"""Rules of the house that no linter knows."""

import re
from pathlib import Path

from api.app import DIALECTS
from dev.paths import ROOT

DRAWERS = {"utils", "util", "helpers", "common", "services", "managers", "misc"}
MAX_LINES = 320


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def who_says(words: str, *rooms: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sources(*rooms) if re.search(words, path.read_text())]


def test_nothing_but_the_settings_reads_the_environment() -> None:
    # The settings themselves read it through pydantic.
    assert who_says(r"os\.environ|import environ|getenv", "api", "workers", "shared") == []


def test_only_the_log_touches_the_keys_of_logs() -> None:
    assert who_says(r"log_key\(", "api", "workers", "shared") == ["shared/keyspace.py", "shared/log/stream.py"]


def test_only_the_claim_and_the_lifecycle_change_a_status() -> None:
    changes = r"(?m)(?<!self)\.status = |\"status\": Status|^ +status=Status\.(?!QUEUED)"

    assert who_says(changes, "api", "workers", "shared") == ["shared/jobs/claiming.py", "shared/jobs/lifecycle.py"]


def test_there_are_no_drawers() -> None:
    assert [str(path) for path in sources("api", "workers", "shared", "dev") if path.stem in DRAWERS] == []


def test_no_file_has_grown_out_of_its_purpose() -> None:
    assert [
        str(path) for path in sources("api", "workers", "shared", "dev") if len(path.read_text().splitlines()) > MAX_LINES
    ] == []


def test_every_dialect_is_in_the_one_list() -> None:
    assert sorted(dialect.name for dialect in DIALECTS) == sorted(
        path.parent.name for path in ROOT.glob("api/dialects/*/__init__.py")
    )
