"""What is measured side by side: this project and other gateways, each started alone in front of the same model.

LiteLLM and Portkey are installed into environments of their own, in the data folder; what cannot be had is skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import bench
from dev.paths import ROOT
from dev.testing.client import Client
from dev.testing.stack import Process, free_port, is_up, wait_until

FOLDER = ROOT / ".data" / "side_by_side"
INSTALL_SECONDS = 900
START_SECONDS = 120.0
KEY = "sk-bench"


class Skipped(Exception):
    """A gateway that cannot be had here; the message says why."""


@dataclass(frozen=True)
class Endpoint:
    """A way to the model.

    `path` takes chat completions; with `own`, jobs are submitted to `/jobs` and read from their streams instead. The CPU that
    `processes` use is counted.
    """

    name: str
    port: int
    processes: tuple[Process, ...]
    token: str = KEY
    headers: str = ""
    own: bool = False
    path: str = "/v1/chat/completions"


@dataclass(frozen=True)
class Model:
    """The model behind all endpoints, and a folder for a gateway's files."""

    process: Process
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Return its base URL, as clients of OpenAI's API are given it."""
        return f"http://127.0.0.1:{self.port}/v1"


Opening = Callable[[Model], AbstractContextManager[list[Endpoint]]]
"""Starts a gateway before the model, yields the ways through it, and stops it. May raise `Skipped`."""


@contextmanager
def direct(model: Model) -> Iterator[list[Endpoint]]:
    """The model itself: what all others add to."""
    yield [Endpoint("the model itself", model.port, (model.process,))]


@contextmanager
def chatrelay(model: Model) -> Iterator[list[Endpoint]]:
    """This project: one API process, one worker, PostgreSQL; through its own API and through OpenAI's."""
    with bench(OPENAI_BASE_URL=model.url, WORKER_CONCURRENCY="500") as running:
        client = Client(running.stack.url)
        port = int(running.stack.url.rpartition(":")[2])
        processes = (*running.stack.webs, *running.stack.workers, running.redis.process)
        yield [
            Endpoint("Chatrelay, /jobs", port, processes, client.token, own=True),
            Endpoint("Chatrelay, /v1/chat/completions", port, processes, client.token),
        ]
        client.close()


@contextmanager
def litellm(model: Model) -> Iterator[list[Endpoint]]:
    """LiteLLM's proxy, one worker, no database."""
    home = FOLDER / "litellm"
    if not (home / "bin" / "litellm").exists():
        _install([sys.executable, "-m", "venv", str(home)])
        _install([str(home / "bin" / "pip"), "install", "--quiet", "litellm[proxy]"])
    version = _output([str(home / "bin" / "pip"), "show", "litellm"]).split("Version: ")[1].split()[0]
    settings = {"model": "openai/*", "api_base": model.url, "api_key": "bench"}
    config = model.folder / "litellm.yaml"  # JSON is YAML
    config.write_text(json.dumps({"model_list": [{"model_name": "*", "litellm_params": settings}]}))
    port = free_port()
    command = [
        str(home / "bin" / "litellm"),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    with _started("litellm", command, model.folder, LITELLM_MASTER_KEY=KEY, LITELLM_LOCAL_MODEL_COST_MAP="True") as process:
        wait_until(lambda: is_up(f"http://127.0.0.1:{port}/health/liveliness"), "LiteLLM", START_SECONDS)
        yield [Endpoint(f"LiteLLM {version}", port, (process,))]


@contextmanager
def portkey(model: Model) -> Iterator[list[Endpoint]]:
    """Portkey's gateway."""
    home = FOLDER / "portkey"
    package = home / "node_modules" / "@portkey-ai" / "gateway"
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        raise Skipped("Node.js is not installed")
    if not package.exists():
        home.mkdir(parents=True, exist_ok=True)
        _install([npm, "install", "--silent", "--prefix", str(home), "@portkey-ai/gateway"])
    version = json.loads((package / "package.json").read_text())["version"]
    port = free_port()
    headers = f"x-portkey-provider: openai\r\nx-portkey-custom-host: {model.url}\r\n"
    command = [node, str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]
    with _started("portkey", command, model.folder, TRUSTED_CUSTOM_HOSTS="127.0.0.1,localhost") as process:
        wait_until(lambda: is_up(f"http://127.0.0.1:{port}/"), "Portkey", START_SECONDS)
        yield [Endpoint(f"Portkey {version}", port, (process,), headers=headers)]


NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream model {{ server 127.0.0.1:{model_port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


@contextmanager
def nginx(model: Model) -> Iterator[list[Endpoint]]:
    """nginx as a reverse proxy that buffers nothing: about what passing bytes on costs."""
    program = shutil.which("nginx")
    if program is None:
        raise Skipped("nginx is not on the PATH")
    version = (
        subprocess.run([program, "-v"], capture_output=True, text=True, check=True, timeout=10).stderr.split("/")[1].split()[0]
    )
    port, config = free_port(), model.folder / "nginx.conf"
    config.write_text(NGINX.format(folder=model.folder, model_port=model.port, port=port))
    with _started("nginx", [program, "-c", str(config)], model.folder) as process:
        wait_until(lambda: is_up(f"http://127.0.0.1:{port}/v1/models"), "nginx")
        yield [Endpoint(f"nginx {version}", port, (process,))]


ALL: tuple[Opening, ...] = (direct, nginx, litellm, portkey, chatrelay)


@contextmanager
def _started(name: str, command: list[str], folder: Path, **settings: str) -> Iterator[Process]:
    process = Process(name, command, {**os.environ, **settings}, folder)
    try:
        yield process
    finally:
        process.kill()


def _install(command: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise Skipped(f"{' '.join(command[:3])} … failed: {error}") from None


def _output(command: list[str]) -> str:
    """Return what a program prints, errors included: nginx tells its version there."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60).stdout
