"""`flask --app api.app make-admin`: an administrator is made, and unmade, by a real command."""

import secrets
import subprocess
import sys
from pathlib import Path

import httpx2

from dev.paths import ROOT
from dev.testing.client import PASSWORD
from tests.api.deployment import Deployment

COMMAND_SECONDS = 60
PROMPT = "/system"
"""The global prompt of the proxy dialect: reading needs an identity, writing an administrator."""


def run(deployment: Deployment, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "flask"), "--app", "api.app", "make-admin", *arguments]
    environment = {**deployment.stack.environment, **settings}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)


def test_an_administrator_is_made_and_unmade(deployment: Deployment, anonymous: httpx2.Client) -> None:
    # Given a user, who may not set the global prompt
    credentials = {"username": f"user-{secrets.token_hex(8)}", "password": PASSWORD}
    anonymous.post("/auth/register", json=credentials)
    token = anonymous.post("/auth/login", json=credentials).json()["access_token"]
    anonymous.headers["Authorization"] = f"Bearer {token}"
    assert anonymous.post(PROMPT, json={"content": ""}).status_code == 403

    # When the user is made an administrator, then that is allowed, until it is revoked
    done = run(deployment, credentials["username"])
    assert (done.returncode, done.stdout) == (0, f"{credentials['username']} is an administrator now.\n"), done.stderr
    assert anonymous.post(PROMPT, json={"content": ""}).status_code == 200
    assert run(deployment, credentials["username"], "--revoke").returncode == 0
    assert anonymous.post(PROMPT, json={"content": ""}).status_code == 403


def test_what_cannot_be_done_is_one_line(deployment: Deployment) -> None:
    for refused in (run(deployment, "nobody"), run(deployment, "nobody", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")):
        assert refused.returncode != 0
        error_lines = [line for line in refused.stderr.splitlines() if line.startswith("Error: ")]
        assert len(error_lines) == 1
        assert "Traceback" not in refused.stderr
