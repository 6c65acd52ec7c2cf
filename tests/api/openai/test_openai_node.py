"""OpenAI's Node SDK, unmodified, as a second client of its API. Without Node.js the tests are skipped; in CI they fail."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dev.paths import ROOT
from dev.testing.client import Client
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment

FOLDER = ROOT / "tests" / "node"
INSTALL_SECONDS = 120
RUN_SECONDS = 60
TWENTY = "".join(f"{number} " for number in range(1, 21))

pytestmark = ON_SQLITE


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the SDK installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _do_without("Node.js (node and npm) is not installed")
    if not (FOLDER / "node_modules" / "openai").is_dir():
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
        _do_without(f"npm did not install the Node SDK within {INSTALL_SECONDS} s")
    if done.returncode:
        _do_without(f"npm could not install the Node SDK: {done.stderr.strip().splitlines()[-1:]}")


@pytest.fixture
def run_scenario(node: str, deployment: Deployment, client: Client) -> Any:
    """Return a function that runs a scenario as a new user and returns its findings."""

    def run(scenario: str) -> Any:
        token = client.http.headers["Authorization"].removeprefix("Bearer ")
        environment = {"PATH": os.environ["PATH"], "BASE_URL": f"{deployment.url}/v1", "API_KEY": token}
        command = [node, str(Path("scenarios.mjs")), scenario]
        done = subprocess.run(
            command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_streamed_chat_completion(run_scenario: Any) -> None:
    found = run_scenario("chat")
    assert found["text"] == TWENTY
    assert found["usage"]["completion_tokens"] == 20
    assert found["numbers"] == list(range(len(found["numbers"])))


def test_the_helper_puts_a_chat_completion_together(run_scenario: Any) -> None:
    assert run_scenario("chatHelper") == {"text": TWENTY, "reason": "stop"}


def test_a_background_response_is_polled_to_its_end(run_scenario: Any) -> None:
    found = run_scenario("background")
    assert found["first"] in ("queued", "in_progress")
    assert (found["status"], found["text"]) == ("completed", TWENTY)


def test_a_broken_stream_is_taken_up_again(run_scenario: Any) -> None:
    assert run_scenario("resume") == {"same": True, "text": TWENTY, "last": "response.completed"}


def test_the_helper_puts_a_response_together(run_scenario: Any) -> None:
    assert run_scenario("helper") == {"status": "completed", "text": TWENTY}


def test_the_helper_comes_back_to_a_response(run_scenario: Any) -> None:
    assert run_scenario("helperResume") == {"first": 7, "text": TWENTY}


def test_refusals_are_its_typed_errors(run_scenario: Any) -> None:
    bad, unknown, nobody = run_scenario("refused")
    assert bad == {"name": "BadRequestError", "status": 400, "code": bad["code"], "param": "temperature", "id": True}
    assert (unknown["name"], unknown["status"], unknown["id"]) == ("NotFoundError", 404, True)
    assert (nobody["name"], nobody["code"]) == ("AuthenticationError", "invalid_api_key")
