"""The settings: typed, told once, and refused by name when they are wrong."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dev.paths import ROOT
from shared import config
from shared.config import Settings
from shared.errors import ConfigurationError

SECRET = "s" * 32
PATIENCE_SECONDS = 30


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that sets nothing but the secret."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SECRET_KEY", SECRET)


def importing(module: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What a process says that imports one of our modules."""
    command = [sys.executable, "-c", f"import {module}"]
    return subprocess.run(command, cwd=ROOT, check=False, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("environment", [{}, {"SECRET_KEY": ""}, {"SECRET_KEY": "too short"}])
def test_without_a_secret_nothing_starts(environment: dict[str, str]) -> None:
    refused = importing("workers.flower_app", **environment)

    assert refused.returncode == 2
    assert refused.stdout == ""
    assert re.fullmatch(r"chatrelay: cannot start: SECRET_KEY: .+\n", refused.stderr)
    assert "too short" not in refused.stderr


def test_with_a_secret_it_does() -> None:
    started = importing("workers.flower_app", SECRET_KEY=SECRET)

    assert (started.returncode, started.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("MAX_TRIES", "0"),
        ("MAX_TRIES", "1.5"),
        ("LEASE_SECONDS", "-1"),
        ("LEASE_SECONDS", "0"),
        ("STALL_SECONDS", "soon"),
        ("WORKER_CONCURRENCY", "4001"),
        ("RETENTION_DAYS", "-1"),
        ("LOGIN_LIMIT", "rubbish"),
        ("SUBMIT_LIMIT", "10"),
        ("DATABASE_URL", "rubbish"),
        ("DATABASE_URL", "postgresql://h/d?pgbouncer=true"),
        ("ADMIN_KEY", "a"),
        ("ADMIN_KEY", "a" * 31),
        ("DATABASE_URL", "mysql://host/name"),
        ("RENEW_SECONDS", "4.1"),
        ("JOB_DEADLINE_SECONDS", "inf"),
        ("LEASE_SECONDS", "nan"),
        ("LOG_TTL_SECONDS", "1e12"),
        *(("DATABASE_URL", url) for url in ("postgresql+psycopg2://h/d", "postgresql+asyncpg://h/d", "sqlite+aiosqlite:////x.db")),
        *(("DATABASE_URL", url) for url in ("sqlite://", "sqlite:///:memory:")),
        *(("SUBMIT_LIMIT", rate) for rate in ("10 per minute; 100 per hour", "0 per minute")),
        ("OPENAI_BASE_URL", "api.example/v1"),
        ("OPENAI_API_KEY", "sk-ü"),
        ("OPENAI_API_KEY", "sk-1\nsk-2"),
        *(("REDIS_URL", url) for url in ("localhost:6379", "unix:///run/redis.sock", "redis:")),
        *(("OPENAI_BASE_URL", url) for url in ("http://", "ftp://a.example")),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError) as caught:
        config.load()
    assert caught.value.message.startswith(f"{name}: ")


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "MAX_TRIES"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv("SECRET_KEY")

    with pytest.raises(ConfigurationError) as caught:
        config.load()
    assert {part.partition(": ")[0] for part in caught.value.message.split("; ")} == {"PORT", "MAX_TRIES", "SECRET_KEY"}


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("postgres://u:p@h:1/d", "postgresql+psycopg://u:p@h:1/d"),
        ("postgresql://u:p@h/d?sslmode=require", "postgresql+psycopg://u:p@h/d?sslmode=require"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://u:p%40@h/d?schema=public&sslmode=require\n", "postgresql+psycopg://u:p%40@h/d?sslmode=require"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_postgres_means_psycopg(url: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert config.load().database == meant


def test_without_a_database_it_is_a_file_below_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))

    assert config.load().database == f"sqlite:///{tmp_path}/data/chatrelay.db"


@pytest.mark.parametrize(
    ("value", "meant"),
    [("", []), ("*", ["*"]), ("https://a.example , https://b.example,", ["https://a.example", "https://b.example"])],
)
def test_origins_are_parted_by_commas(value: str, meant: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", value)

    assert config.load().cors_origins == meant


def test_an_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")

    assert config.load().port == 8000


def test_a_secret_may_end_with_a_new_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET + "\n")

    assert config.load().secret_key.get_secret_value() == SECRET


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hidden-1@h/d")
    monkeypatch.setenv("REDIS_URL", "redis://:hidden-2@h/0")
    monkeypatch.setenv("ADMIN_KEY", "hidden-3" * 4)
    monkeypatch.setenv("OPENAI_API_KEY", "hidden-4")
    shown = f"{config.load()!r} {config.load()}"

    assert "hidden" not in shown
    assert SECRET not in shown
    assert "hidden-3" not in repr(config.load().model_dump())


def test_a_secret_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("SECRET_KEY", "k" * 40), ("REDIS_URL", "redis://:p@h/0")):
        (tmp_path / name).write_text(text + "\n")
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))

    loaded = config.load()
    assert (loaded.secret_key.get_secret_value(), loaded.redis_url) == ("k" * 40, "redis://:p@h/0")


@pytest.mark.parametrize(("path", "also"), [("/nowhere/at/all", ""), ("/dev/null", SECRET)])
def test_a_file_that_cannot_be_used_is_refused_by_name(path: str, also: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", also)
    monkeypatch.setenv("SECRET_KEY_FILE", path)

    with pytest.raises(ConfigurationError) as caught:
        config.load()
    assert caught.value.message.startswith("SECRET_KEY_FILE: ")


def test_what_a_cluster_says_about_its_services_is_not_ours() -> None:
    links = dict.fromkeys(("REDIS_PORT", "FLOWER_PORT", "MODEL_PORT", "POSTGRES_PORT"), "tcp://10.0.0.1:6379")

    assert importing("workers.app", SECRET_KEY=SECRET, **links).returncode == 0


EXAMPLE = (ROOT / ".env.example").read_text()
OTHERS = [
    *("FLOWER_BASIC_AUTH", "FLOWER_ADDRESS", "FLOWER_PORT", "POSTGRES_PASSWORD", "WORKER_STOP_GRACE", "WORKERS"),
    *("CHATRELAY_VERSION", "NOFILE", "REDIS_PORT", "MODEL_PORT"),
]
"""What no process of ours reads."""
BY_WHO_STARTS = {"redis_url", "bind_address", "default_model"}
"""What is another where `bin/dev` starts us: a copy of the example, as it is, must leave that as it is."""


def exemplary() -> dict[str, str]:
    pairs = (line.partition("=") for line in EXAMPLE.splitlines() if line and not line.startswith("#"))
    return {name: value.strip('"') for name, _, value in pairs}


def test_the_example_names_every_setting_and_no_other() -> None:
    assert list(exemplary()) == [*(name.upper() for name in Settings.model_fields), *OTHERS]


def test_the_example_tells_the_defaults_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    example = exemplary()
    defaults = config.load()
    for name, value in example.items():
        if value:
            monkeypatch.setenv(name, value)

    assert config.load() == defaults
    assert (example["SECRET_KEY"], example["FLOWER_BASIC_AUTH"]) == ("", "")
    assert [
        name
        for name, field in Settings.model_fields.items()
        if name not in {"secret_key", *BY_WHO_STARTS} and field.default and not example[name.upper()]
    ] == []


def test_a_shell_reads_the_example() -> None:
    script = f'set -eu; . {ROOT / ".env.example"}; echo "$LOGIN_LIMIT"'
    done = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.stdout == "10 per minute\n"


def test_the_example_explains_each_setting_in_the_settings_own_words() -> None:
    def documented(field: Any) -> str:
        return f"# {field.description}"

    lines = EXAMPLE.splitlines()
    above = {line.partition("=")[0]: lines[at - 1] for at, line in enumerate(lines) if re.match(r"[A-Z_]+=", line)}
    assert {
        name: documented(field) for name, field in Settings.model_fields.items() if above[name.upper()] != documented(field)
    } == {}


def test_the_example_is_grouped_as_the_settings_are() -> None:
    source = (ROOT / "shared" / "config.py").read_text()

    assert re.findall(r"^## (.+)$", EXAMPLE, re.MULTILINE) == [
        *re.findall(r"^    # (.+)$", source, re.MULTILINE),
        "Flower",
        "Docker Compose",
        "bin/dev",
    ]
