"""`bin/dev` and `bin/test` on a bare machine: a Python is found, and an environment is made, repaired and left alone."""

import subprocess
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dev import installation
from dev.paths import ROOT

PATIENCE_SECONDS = 30

PYTHON = """#!/bin/sh
# A Python whose pip writes down what it is asked for, and does what `pip.exit` says.
[ "$2" = pip ] || exit 0
echo "$@" >> "{folder}/../pip.log"
exit "$(cat "{folder}/../pip.exit" 2>/dev/null || echo 0)"
"""


class Bare:
    """A folder with lock files, and what was done in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        self.dev, self.test = folder / "requirements-dev.txt", folder / "requirements-test.txt"
        self.dev.write_text("one\n")
        self.test.write_text("one\ntwo\n")
        self.made = 0
        monkeypatch.setattr(venv, "EnvBuilder", lambda **options: SimpleNamespace(create=lambda where: self._make(where, options)))

    def _make(self, where: Path, options: dict[str, Any]) -> None:
        assert options["clear"]
        self.made += 1
        (where / "bin").mkdir(parents=True, exist_ok=True)
        python = where / "bin" / "python"
        python.write_text(PYTHON.format(folder=where))
        python.chmod(0o755)

    @property
    def installed(self) -> list[str]:
        log = self.folder / "pip.log"
        return [line.rpartition("/")[2] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bare:
    return Bare(tmp_path, monkeypatch)


def test_the_first_run_installs_and_the_next_does_nothing(bare: Bare) -> None:
    installation.ensure(bare.venv, [bare.dev])
    installation.ensure(bare.venv, [bare.dev])

    assert (bare.made, bare.installed) == (1, ["requirements-dev.txt"])
    assert "--require-hashes" in (bare.folder / "pip.log").read_text()


def test_what_a_lock_file_contains_counts_as_installed(bare: Bare) -> None:
    installation.ensure(bare.venv, [bare.test, bare.dev])
    installation.ensure(bare.venv, [bare.dev])

    assert bare.installed == ["requirements-test.txt"]


def test_a_changed_lock_file_is_installed_into_the_same_environment(bare: Bare) -> None:
    installation.ensure(bare.venv, [bare.dev])
    bare.dev.write_text("three\n")
    installation.ensure(bare.venv, [bare.dev])

    assert (bare.made, len(bare.installed)) == (1, 2)


def test_an_interrupted_installation_is_begun_anew(bare: Bare) -> None:
    (bare.folder / "pip.exit").write_text("1")
    with pytest.raises(SystemExit, match=r"pip could not install requirements-dev\.txt"):
        installation.ensure(bare.venv, [bare.dev])

    (bare.folder / "pip.exit").unlink()
    installation.ensure(bare.venv, [bare.dev])

    assert (bare.made, len(bare.installed)) == (2, 2)


@pytest.mark.parametrize("damage", ["moved", "without its Python"])
def test_an_environment_that_cannot_work_is_made_anew(bare: Bare, damage: str) -> None:
    installation.ensure(bare.venv, [bare.dev])
    if damage == "moved":
        (bare.venv / installation.COMPLETE).write_text("/somewhere/else/.venv")
    else:
        (bare.venv / "bin" / "python").unlink()
    installation.ensure(bare.venv, [bare.dev])

    assert bare.made == 2


def run_without_python(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run one of the commands where the PATH holds a shell's tools and nothing else but what the folder has."""
    (folder / "dirname").symlink_to("/usr/bin/dirname")
    return subprocess.run(
        ["/bin/sh", str(ROOT / "bin" / script)],
        check=False,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize("script", ["dev", "test"])
def test_without_a_python_one_line_says_so(script: str, tmp_path: Path) -> None:
    (tmp_path / "python3.13").write_text("#!/bin/sh\necho 'this shim has no such version' >&2; exit 127\n")
    (tmp_path / "python3.13").chmod(0o755)

    done = run_without_python(script, tmp_path)

    assert done.returncode == 1
    assert done.stderr == "chatrelay: no Python 3.11 or later was found: install one, or set PYTHON to its path.\n"


def test_a_python_without_venv_is_named(tmp_path: Path) -> None:
    (tmp_path / "python3.12").write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    (tmp_path / "python3.12").chmod(0o755)

    done = run_without_python("dev", tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("chatrelay: python3.12 has no venv module: install it")
    assert done.stderr.count("\n") == 1
