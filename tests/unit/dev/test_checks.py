"""What `bin/test` runs for which arguments, on which machine."""

import sys
from pathlib import Path

import pytest

from dev import checks
from dev.checks import Step, plan

LINTERS = ["lint", "format", "types", "contracts"]


def names(*arguments: str) -> list[str]:
    return [step.name for step in plan(arguments, cores=2, environment={})]


def pytest_options(*arguments: str, cores: int = 2, **environment: str) -> list[str]:
    """Return what follows `python -m pytest` in the last step."""
    command = plan(arguments, cores, environment)[-1].command
    assert command[:3] == (sys.executable, "-m", "pytest")
    return list(command[3:])


def processes(*arguments: str, cores: int = 2, **environment: str) -> str:
    options = pytest_options(*arguments, cores=cores, **environment)
    return options[options.index("-n") + 1] if "-n" in options else "0"


def test_everything_is_the_linters_and_all_tests() -> None:
    assert names() == [*LINTERS, "tests"]
    assert "tests/unit" not in pytest_options()


def test_the_fast_lane_is_the_linters_and_the_unit_tests() -> None:
    assert names("fast") == [*LINTERS, "unit tests"]
    assert pytest_options("fast")[-1] == "tests/unit"


def test_coverage_is_measured_over_the_tests_without_processes_of_their_own() -> None:
    assert names("coverage") == ["coverage"]
    assert "--cov" in pytest_options("coverage")
    assert pytest_options("coverage")[-2:] == ["tests/integration", "tests/unit"]


def test_arguments_after_a_lane_go_to_pytest() -> None:
    assert pytest_options("fast", "-x")[-2:] == ["tests/unit", "-x"]


@pytest.mark.parametrize("arguments", [("tests/unit/dev/test_checks.py",), ("-k", "name"), ("tests/api",)])
def test_what_is_named_runs_without_linters(arguments: tuple[str, ...]) -> None:
    assert names(*arguments) == ["tests"]
    assert pytest_options(*arguments)[-len(arguments) :] == list(arguments)


def test_one_file_needs_one_process() -> None:
    assert processes("tests/unit/dev/test_checks.py::test_one_file_needs_one_process") == "0"
    assert processes("tests/unit/dev/test_checks.py", "tests/unit/dev/test_account.py") == "4"
    assert processes("tests/unit") == "4"


def test_the_number_of_processes_follows_the_machine() -> None:
    assert [processes(cores=cores) for cores in (1, 2, 4, 64)] == ["2", "4", "8", "8"]
    assert [processes("fast", cores=cores) for cores in (1, 2, 64)] == ["1", "2", "8"]


def test_the_number_of_processes_can_be_set() -> None:
    assert processes(TEST_PROCESSES="3") == processes("fast", TEST_PROCESSES="3") == "3"
    assert "-n" not in pytest_options(TEST_PROCESSES="0")


def python(name: str, code: str) -> Step:
    return Step(name, (sys.executable, "-c", code))


def test_the_first_failure_ends_the_run_with_its_exit_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    never = tmp_path / "never"
    steps = [python("good", ""), python("bad", "raise SystemExit(3)"), python("never", f"open({str(never)!r}, 'w')")]

    assert checks.run(steps) == 3
    assert not never.exists()
    assert "bin/test: failed at bad (good " in capfd.readouterr().out


def test_every_step_says_how_long_it_took(capfd: pytest.CaptureFixture[str]) -> None:
    assert checks.run([python("one", ""), python("two", "")]) == 0
    assert capfd.readouterr().out.startswith("bin/test: passed (one 0.")
