"""Rules of the house that no linter checks."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from api.app import DIALECTS
from dev.paths import ROOT

PRODUCT = ("api", "workers", "shared")
CODE = (*PRODUCT, "dev", "bench")
VAGUE_NAMES = {"utils", "util", "helpers", "common", "services", "manager", "managers", "misc"}
MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 40
MAX_ROOM_FILES = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def files_with(pattern: str, *rooms: str) -> list[str]:
    return [name(path) for path in sources(*rooms) if re.search(pattern, path.read_text())]


def functions(*rooms: str) -> Iterator[tuple[str, Function]]:
    """Yield each function with its place."""
    for path in sources(*rooms):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield f"{name(path)}:{node.name}", node


def lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_nothing_but_the_settings_reads_the_environment() -> None:
    # The settings read it through pydantic, and take out what a library would misread.
    assert files_with(r"os\.environ|import environ|getenv", *PRODUCT) == ["shared/config.py"]


def test_only_the_log_touches_the_keys_of_logs() -> None:
    assert files_with(r"log_key\(", *PRODUCT) == ["shared/log/stream.py", "shared/redis/keyspace.py"]


def test_only_the_claim_and_the_lifecycle_change_a_status() -> None:
    changes = r"(?m)(?<!self)\.status = |\"status\": Status|^ +status=Status\.(?!QUEUED)"

    assert files_with(changes, *PRODUCT) == ["shared/jobs/claiming.py", "shared/jobs/lifecycle.py"]


def test_every_module_is_named_for_its_purpose() -> None:
    assert [name(path) for path in sources(*CODE) if {path.stem, path.parent.name} & VAGUE_NAMES] == []


def test_no_file_is_long() -> None:
    assert [name(path) for path in sources(*CODE) if len(path.read_text().splitlines()) > MAX_FILE_LINES] == []


def test_no_function_is_long() -> None:
    assert [place for place, function in functions(*CODE, "tests") if lines(function) > MAX_FUNCTION_LINES] == []


def test_no_function_imports() -> None:
    imports = (ast.Import, ast.ImportFrom)

    assert [
        place for place, function in functions(*CODE, "tests") if any(isinstance(each, imports) for each in ast.walk(function))
    ] == []


def test_no_room_is_full() -> None:
    rooms = Counter(name(path.parent) for path in sources(*CODE, "tests") if path.name != "__init__.py")

    assert [room for room, files in rooms.items() if files > MAX_ROOM_FILES] == []


def test_every_dialect_is_in_the_one_list() -> None:
    assert sorted(dialect.name for dialect in DIALECTS) == sorted(
        path.parent.name for path in ROOT.glob("api/dialects/*/__init__.py")
    )
