"""The Procfile, the image and the compose file start the same programs, and none of them holds a secret."""

import json
import re
import subprocess

import pytest
import tiktoken

from dev.paths import ROOT
from dev.processes import procfile
from workers.prompt import token_counter

PATIENCE_SECONDS = 30

COMPOSE = (ROOT / "docker-compose.yml").read_text()
IN_CONTAINERS = {"FLOWER_BASIC_AUTH": "user:password", "FLOWER_ADDRESS": "0.0.0.0", "FLOWER_PORT": "5555"}
SERVICE_BY_NAME = {"release": "migrate", "web": "api", "worker": "worker", "flower": "flower"}


def service(name: str) -> str:
    """One service's part of the compose file, as text."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)*)", COMPOSE, re.MULTILINE)
    assert found, f"no service {name}"
    return found[1]


def compose_command(name: str) -> list[str]:
    found = re.search(r"^    command: (\[.*\])$", service(name), re.MULTILINE)
    assert found, f"service {name} has no command"
    command: list[str] = json.loads(found[1])
    return command


def expanded(line: str, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """A Procfile's line as its program would see it: one argument a line."""
    script = f"printf '%s\\n' {line}"
    return subprocess.run(
        ["sh", "-c", script],
        check=False,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize("name", SERVICE_BY_NAME)
def test_procfile_and_compose_start_the_same_program(name: str) -> None:
    words = expanded(procfile.read(ROOT / "Procfile")[name], IN_CONTAINERS).stdout.splitlines()
    if words[0] == "env":
        assert words[1] == "FLOWER_BASIC_AUTH=user:password"
        words = words[2:]

    assert words == compose_command(SERVICE_BY_NAME[name])


def test_there_are_no_other_processes() -> None:
    assert set(procfile.read(ROOT / "Procfile")) == set(SERVICE_BY_NAME)


def test_flower_never_starts_without_a_password() -> None:
    line = procfile.read(ROOT / "Procfile")["flower"]

    for variables in ({}, {"FLOWER_BASIC_AUTH": ""}):
        refused = expanded(line, variables)
        assert refused.returncode != 0
        assert "set it to user:password" in refused.stderr
    assert "--address=127.0.0.1" in expanded(line, {"FLOWER_BASIC_AUTH": "a:b"}).stdout


def test_the_images_own_command_is_the_api() -> None:
    commands = re.findall(r"^CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert [json.loads(command) for command in commands] == [compose_command("api")]


def test_every_folder_of_the_image_exists_and_is_sent_to_the_engine() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for words in copied for source in words.split()}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert sources == sent
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_brings_what_tokens_are_counted_by() -> None:
    image = (ROOT / "Dockerfile").read_text()
    fetched = re.findall(r'^ARG TIKTOKEN_ENCODINGS="(.*)"$', image, re.MULTILINE)[0].split()

    assert {token_counter.UNKNOWN_MODELS_ENCODING, tiktoken.encoding_name_for_model("gpt-4o-mini")} <= set(fetched)
    assert set(fetched) <= set(tiktoken.list_encoding_names())
    assert "ENV TIKTOKEN_CACHE_DIR=" in image


@pytest.mark.parametrize("name", ["SECRET_KEY", "POSTGRES_PASSWORD", "FLOWER_BASIC_AUTH"])
def test_compose_demands_each_secret(name: str) -> None:
    uses = re.findall(r"\$\{" + name + r"([^}]*)\}", COMPOSE)

    assert uses
    assert all(use.startswith(":?") for use in uses)


def test_many_workers_run_on_one_machine() -> None:
    assert "container_name" not in COMPOSE
    assert "hostname" not in COMPOSE
    assert "ports" not in service("worker")
    assert "volumes" not in service("worker")


def test_every_service_that_runs_has_a_health_check() -> None:
    running = set(re.findall(r"^  ([a-z]+):\n    ", COMPOSE.partition("\nservices:")[2], re.MULTILINE)) - {"migrate"}

    assert running == {"api", "worker", "flower", "redis", "postgres"}
    assert [name for name in running if "healthcheck:" not in service(name)] == []


def test_flower_has_no_key_of_the_provider() -> None:
    assert 'OPENAI_API_KEY: ""' in service("flower")
    assert 'ADMIN_KEY: ""' in service("flower")


def test_the_port_is_published_where_the_settings_say() -> None:
    assert '["${BIND_ADDRESS:-0.0.0.0}:${PORT:-8000}:8000"]' in service("api")


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_no_log_grows_for_ever(name: str) -> None:
    assert "max-size: 10m" in COMPOSE
    assert "logging: *logging" in service(name)
    assert "logging: *logging" in COMPOSE.partition("services:")[0]
