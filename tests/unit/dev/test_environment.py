"""The developer's environment: what is set wins, what is missing is made once and kept."""

import os
import socket
import stat
from pathlib import Path

import pytest

from dev import exclusive
from dev.environment import Environment, prepare
from shared.config import Settings
from shared.errors import ConfigurationError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing of ours is set; what `prepare` adds is taken back."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in (*(field.upper() for field in Settings.model_fields), "FLOWER_BASIC_AUTH"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def prepared(root: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Environment:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return prepare(root)


def test_a_bare_machine_brings_its_own_redis_and_model(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    environment = prepared(tmp_path, bare)

    assert (environment.own_redis, environment.own_model) == (True, True)
    assert environment.data_dir == tmp_path / ".data"
    assert environment.ports == {"PORT": 8000, "FLOWER_PORT": 5555, "REDIS_PORT": 6390, "MODEL_PORT": 8090}
    assert environment.variables["REDIS_URL"] == "redis://127.0.0.1:6390/0"
    assert environment.variables["OPENAI_BASE_URL"] == "http://127.0.0.1:8090/v1"
    assert environment.variables["DEFAULT_MODEL"] == "demo"
    assert environment.settings.database == f"sqlite:///{tmp_path}/.data/chatrelay.db"
    assert "DATABASE_URL" not in environment.variables


def test_what_is_set_is_used(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    environment = prepared(
        tmp_path,
        bare,
        REDIS_URL="redis://127.0.0.1:1/3",
        OPENAI_API_KEY="key",
        PORT="8001",
        DATA_DIR="elsewhere",
        SECRET_KEY="s" * 40,
        FLOWER_BASIC_AUTH="me:pass",
        DRAIN_SECONDS="9",
    )

    assert (environment.own_redis, environment.own_model) == (False, False)
    assert environment.ports == {"PORT": 8001, "FLOWER_PORT": 5555}
    assert environment.data_dir == tmp_path / "elsewhere"
    assert "OPENAI_BASE_URL" not in environment.variables
    assert environment.settings.default_model == Settings.model_fields["default_model"].default
    assert environment.settings.drain_seconds == 9
    assert environment.variables["FLOWER_BASIC_AUTH"] == "me:pass"
    assert list(environment.data_dir.iterdir()) == []


def test_the_real_environment_beats_the_file(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=8100\nFLOWER_PORT=8200\nDEFAULT_MODEL=\nOPENAI_API_KEY=key\n")

    environment = prepared(tmp_path, bare, PORT="8101", OPENAI_API_KEY="")

    assert (environment.settings.port, environment.variables["FLOWER_PORT"]) == (8101, "8200")
    assert environment.own_model
    assert environment.settings.default_model == "demo"


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    first = prepared(tmp_path, bare).variables
    for name in ("SECRET_KEY", "FLOWER_BASIC_AUTH"):
        bare.delenv(name)

    assert prepare(tmp_path).variables["SECRET_KEY"] == first["SECRET_KEY"]
    assert first["FLOWER_BASIC_AUTH"].startswith("dev:")
    for name in ("secret_key", "flower_auth"):
        assert stat.S_IMODE((tmp_path / ".data" / name).stat().st_mode) == 0o600


def test_a_wrong_setting_is_named(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"^PORT: "):
        prepared(tmp_path, bare, PORT="http")


def test_a_data_folder_that_cannot_be_is_named(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"^DATA_DIR: .*file/x cannot be used: Not a directory"):
        prepared(tmp_path, bare, DATA_DIR="file/x")


def test_a_taken_port_is_named_with_its_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(exclusive.PortTaken, match=rf"^port {port} cannot be used .*set FLOWER_PORT"):
            exclusive.check_ports({"FLOWER_PORT": port})
    exclusive.check_ports({"FLOWER_PORT": port})


def test_two_settings_with_one_port_are_named() -> None:
    with pytest.raises(exclusive.PortTaken, match=r"^PORT and REDIS_PORT are both 54321"):
        exclusive.check_ports({"PORT": 54321, "REDIS_PORT": 54321})


def test_a_data_folder_belongs_to_one_stack(tmp_path: Path) -> None:
    exclusive.lock_folder(tmp_path)

    with pytest.raises(exclusive.FolderTaken, match=r"^another bin/dev is using .*set DATA_DIR"):
        exclusive.lock_folder(tmp_path)
