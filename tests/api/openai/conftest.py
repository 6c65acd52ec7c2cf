"""OpenAI's SDK as a new user; clients for Node.js. Without Node.js their tests are skipped; in CI they fail."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from openai import OpenAI

from dev.paths import ROOT
from dev.testing.client import Client
from tests.api.deployment import Deployment
from tests.openai_reader import sdk

FOLDER = ROOT / "tests" / "node"
INSTALL_SECONDS = 120
RUN_SECONDS = 60


@pytest.fixture
def api(deployment: Deployment, client: Client) -> Iterator[OpenAI]:
    """The official SDK, with a new user's token."""
    with sdk(deployment.url, client.token) as made:
        yield made


@pytest.fixture(scope="session")
def node() -> str:
    """Node, with the clients installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _do_without("Node.js (node and npm) is not installed")
    wanted = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["dependencies"]
    if not all((FOLDER / "node_modules" / name).is_dir() for name in wanted):
        _install(npm)
    return node


def _do_without(reason: str) -> NoReturn:
    """Skip on a developer's machine; fail in CI, where a skip would go unnoticed."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _install(npm: str) -> None:
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        _do_without(f"npm did not install the Node clients within {INSTALL_SECONDS} s")
    if done.returncode:
        _do_without(f"npm could not install the Node clients: {done.stderr.strip().splitlines()[-1:]}")


@pytest.fixture
def run_scenario(node: str, deployment: Deployment, client: Client) -> Any:
    """Return a function that runs a scenario as a new user and returns its findings."""

    def run(*scenario: str, script: str = "scenarios.mjs") -> Any:
        token = client.http.headers["Authorization"].removeprefix("Bearer ")
        environment = {"PATH": os.environ["PATH"], "BASE_URL": f"{deployment.url}/v1", "API_KEY": token}
        command = [node, script, *scenario]
        done = subprocess.run(
            command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
