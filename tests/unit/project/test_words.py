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

RETIRED = (
    r"agency",
    r"attend(s|ed)?",
    r"bites? its tail",
    r"blot(s|ted)? out",
    r"bring_back",
    r"catalogues?",
    r"deaf",
    r"desk",
    r"doors?",
    r"doubt(s|ed)?",
    r"drawers?",
    r"ears?",
    r"hear(s|d|ing)?",
    r"he|him|his|himself",
    r"ill",
    r"is_there",
    r"keepers?",
    r"kin",
    r"left_out",
    r"let_in",
    r"mend(s|ed|ing)?",
    r"pardon(s|ed)?",
    r"reckon(s|ed|ing)?",
    r"seats?",
    r"shall",
    r"surely",
    r"thereof",
    r"tidings",
    r"voiced",
    r"who_says",
    r"whoever",
    r"wish(es|ed)?",
    r"witness(es)?",
    r"wonder(s|ed)?",
)
"""Words, and parts of names, by regular expressions; an underscore ends a word. Upper and lower case are alike."""

RETIRED_NAMES = {
    *("Agency", "Ask", "Catalogue", "Desk", "Held", "Hold", "Holds", "Keeper", "News", "Outcome", "Piece", "Question"),
    *("Seat", "Site", "Trouble", "Verdict"),
    *("_said", "_told", "said", "spoken", "told"),
}
"""Names that say nothing of what they name, or more than one thing. In prose the words are as good as others."""


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


@pytest.mark.parametrize("words", RETIRED)
def test_a_retired_word_is_nowhere(words: str) -> None:
    pattern = re.compile(rf"(?<![A-Za-z0-9])({words})(?![A-Za-z0-9])", re.IGNORECASE)
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
        if name in RETIRED_NAMES or name.startswith(("MOST_", "LONGEST_"))
    ]

    assert found == []
