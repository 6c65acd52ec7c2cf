"""What tools read of the project: its version, its dependencies, and that the lock files hold what is asked for."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from dev.paths import ROOT
from shared.version import VERSION

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[\S+\])?==(\S+)", re.MULTILINE)
LOCK_FILES = ["requirements.txt", "requirements-dev.txt", "requirements-test.txt"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(path: str) -> list[Requirement]:
    """Read a file of requirements, and those that it includes."""
    lines = [line.partition(" #")[0].strip() for line in (ROOT / path).read_text().splitlines()]
    included = [each for line in lines if line.startswith("-r ") for each in wanted(line.removeprefix("-r ").strip())]
    return included + [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]


def test_the_version_has_one_source() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "shared.version.VERSION"}
    assert "version" in PROJECT["project"]["dynamic"]


def test_the_dependencies_have_one_source() -> None:
    assert PROJECT["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.in"]}
    assert "dependencies" in PROJECT["project"]["dynamic"]
    assert wanted("requirements.in")


@pytest.mark.parametrize("lock_file", LOCK_FILES)
def test_a_lock_file_holds_what_is_asked_for(lock_file: str) -> None:
    pinned = {normal(name): Version(version) for name, version in PINNED.findall((ROOT / lock_file).read_text())}
    missing = [each for each in wanted(lock_file.replace(".txt", ".in")) if normal(each.name) not in pinned]
    outside = [each for each in wanted(lock_file.replace(".txt", ".in")) if pinned[normal(each.name)] not in each.specifier]

    assert missing == []
    assert outside == []


@pytest.mark.parametrize("lock_file", LOCK_FILES)
def test_a_lock_file_names_the_extras_that_are_asked_for(lock_file: str) -> None:
    locked = (ROOT / lock_file).read_text()
    asked = [each for each in wanted(lock_file.replace(".txt", ".in")) if each.extras]

    assert asked
    assert [each for each in asked if f"{each.name}[{','.join(sorted(each.extras))}]==" not in locked] == []


@pytest.mark.parametrize("lock_file", LOCK_FILES)
def test_every_pin_has_hashes(lock_file: str) -> None:
    text = (ROOT / lock_file).read_text()
    without = [
        name
        for name, rest in re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[\S+\])?==(.*\n(?: .*\n)*)", text)
        if "--hash=sha256:" not in rest
    ]

    assert without == []
