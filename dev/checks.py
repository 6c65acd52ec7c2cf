"""Runs the checks of `bin/test`: the linters and the tests, or some of them.

    bin/test                everything
    bin/test fast           lint, format, types, contracts and unit tests
    bin/test coverage       the tests that run the code in their own process (unit, integration), and how much of it they run
    bin/test ARGUMENT...    pytest with these arguments, and no linters: a file, a folder, `-k name`

Tests run in several processes, as many as suit the machine; TEST_PROCESSES sets another number, 0 runs them in this one.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.paths import ROOT

PROCESSES_PER_CORE = 2
"""The tests with real servers wait more than they work."""

MAX_PROCESSES = 8
"""Each process has servers of its own: more of them would use up a machine's memory before its cores."""

UNIT_TESTS = "tests/unit"
INTEGRATION_TESTS = "tests/integration"


@dataclass(frozen=True)
class Step:
    """One program to run, and the name that its duration is printed under."""

    name: str
    command: tuple[str, ...]


LINTERS = (
    Step("lint", ("ruff", "check", "--quiet")),
    Step("format", ("ruff", "format", "--check", "--quiet")),
    Step("types", ("mypy", "--no-error-summary")),
    Step("contracts", ("lint-imports", "--no-logo")),
)


def plan(arguments: Sequence[str], cores: int, environment: Mapping[str, str]) -> list[Step]:
    """Return the steps that these arguments ask for, in order."""
    several = _processes(PROCESSES_PER_CORE * cores, environment)
    if not arguments:
        return [*LINTERS, _pytest("tests", several, [])]
    lane, *rest = arguments
    if lane == "fast":
        return [*LINTERS, _pytest("unit tests", _processes(cores, environment), [UNIT_TESTS, *rest])]
    if lane == "coverage":
        return [_pytest("coverage", several, ["--cov", "--cov-report=term:skip-covered", INTEGRATION_TESTS, UNIT_TESTS, *rest])]
    return [_pytest("tests", _few(arguments, several), arguments)]


def _processes(preferred: int, environment: Mapping[str, str]) -> str:
    return environment.get("TEST_PROCESSES") or str(min(preferred, MAX_PROCESSES))


def _few(arguments: Sequence[str], processes: str) -> str:
    """Return the number of processes for the named tests: a file is never shared out, so that one file needs none."""
    files = {argument.partition("::")[0] for argument in arguments if argument.partition("::")[0].endswith(".py")}
    folders = [argument for argument in arguments if Path(argument).is_dir()]
    return "0" if len(files) == 1 and not folders else processes


def _pytest(name: str, processes: str, arguments: Sequence[str]) -> Step:
    # A file's tests stay together, because they share servers. Folders come in alphabetical order: tests/acceptance, which takes
    # longest, begins first.
    shared_out = () if processes == "0" else ("-n", processes, "--dist", "loadfile", "--no-loadscope-reorder")
    return Step(name, (sys.executable, "-m", "pytest", *shared_out, *arguments))


def run(steps: Sequence[Step]) -> int:
    """Run the steps up to the first that fails, and print how long each took. Return the last exit code."""
    durations: list[str] = []
    code = 0
    for step in steps:
        started = time.monotonic()
        code = subprocess.run(step.command, cwd=ROOT, check=False).returncode
        durations.append(f"{step.name} {time.monotonic() - started:.1f} s")
        if code != 0:
            break
    result = "passed" if code == 0 else f"failed at {steps[len(durations) - 1].name}"
    print(f"bin/test: {result} ({', '.join(durations)})", flush=True)
    return code


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; return the exit code."""
    try:
        return run(plan(arguments, _cores(), os.environ))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
