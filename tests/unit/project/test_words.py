"""The words that docs/glossary.md has retired are nowhere in code, documents or log events."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.paths import ROOT

CODE = ("api", "workers", "shared", "dev", "bench", "tests")
TEXTS = (
    "*.md",
    ".github/**/*.md",
    ".github/**/*.yml",
    "docs/*.md",
    "bin/*",
    "*.toml",
    "*.yml",
    "*.py",
    ".env.example",
    "deploy/**/*.y*ml",
)
EXEMPT = {ROOT / "docs" / "glossary.md", Path(__file__).resolve()}

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
WORDS, NAMES = (
    re.findall(r"`([^`]+)`", "".join(re.findall(r"^- (.+?) →", part, re.MULTILINE)))
    for part in GLOSSARY.partition("## Retired words")[2].split("Names that say nothing")
)


def texts() -> Iterator[Path]:
    yield from (path for pattern in TEXTS for path in ROOT.glob(pattern) if path.is_file() and path not in EXEMPT)
    yield from (path for path in sources() if path not in EXEMPT)
    yield from (path for room in CODE for path in (ROOT / room).rglob("*.lua"))


def sources() -> Iterator[Path]:
    yield from (path for room in CODE for path in sorted((ROOT / room).rglob("*.py")))


def names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that a module defines or uses, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno


def test_the_glossary_retires_words_and_names() -> None:
    assert {"mend", "he", "door"} <= set(WORDS)
    assert {"Ask", "told"} <= set(NAMES)


@pytest.mark.parametrize("word", WORDS)
def test_a_retired_word_is_nowhere(word: str) -> None:
    pattern = re.compile(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]

    assert found == []


def test_a_retired_name_is_nowhere() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources()
        for name, line in names(ast.parse(path.read_text(encoding="utf-8")))
        if name in NAMES or name.startswith(("MOST_", "LONGEST_"))
    ]

    assert found == []
