"""What every process of a developer's stack finds in its environment. The only room in dev/ that reads this process' own."""

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from dev.paths import ROOT
from shared.config import Settings, load
from shared.errors import ConfigurationError

DEFAULTS = {
    "BIND_ADDRESS": "127.0.0.1",
    "DRAIN_SECONDS": "2",
    "WEB_CONCURRENCY": "1",
    "ACCESS_TOKEN_SECONDS": "86400",
    "PYTHONUNBUFFERED": "1",
}
"""Unlike production: only this machine may call, the end comes soon, one API process, a token for a day, lines as they are said."""

SECRET_FILES = {"SECRET_KEY": "secret_key", "FLOWER_BASIC_AUTH": "flower_auth"}
"""Where a secret that nobody set is kept, in the data folder."""

BUILT_IN_KEY = "built-in"
BUILT_IN_MODEL = "demo"
OWNER_ONLY = 0o600
SECRET_BYTES = 48
PASSWORD_BYTES = 16


@dataclass(frozen=True)
class Environment:
    """The variables of every process, the settings that they mean, and what we have to start ourselves."""

    variables: Mapping[str, str]
    settings: Settings
    own_redis: bool
    own_model: bool

    @property
    def data_dir(self) -> Path:
        """Where everything is kept; absolute."""
        return Path(self.variables["DATA_DIR"])

    @property
    def ports(self) -> dict[str, int]:
        """The ports that must be free, by the name of their setting."""
        ports = {"PORT": self.settings.port, "FLOWER_PORT": self.settings.flower_port}
        if self.own_redis:
            ports["REDIS_PORT"] = self.settings.redis_port
        if self.own_model:
            ports["MODEL_PORT"] = self.settings.model_port
        return ports


def kept(path: Path, make: Callable[[], str]) -> str:
    """The secret in this file; made the first time, and only its owner may read it."""
    if path.is_file() and (text := path.read_text(encoding="utf-8").strip()):
        return text
    text = make()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    return text


def _given(root: Path) -> dict[str, str]:
    """What the developer set: the real environment beats `.env`, and empty means unset."""
    written = dotenv_values(root / ".env", interpolate=False)
    return {name: value for name, value in {**written, **os.environ}.items() if value}


def _data_dir(given: Mapping[str, str], root: Path) -> Path:
    folder = (root / Path(given.get("DATA_DIR", ".data")).expanduser()).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR: {folder} cannot be used: {error.strerror}") from None
    return folder


def _port(given: Mapping[str, str], name: str) -> str:
    return given.get(name) or str(Settings.model_fields[name.lower()].default)


def _secrets(given: Mapping[str, str], folder: Path) -> dict[str, str]:
    makers: dict[str, Callable[[], str]] = {
        "SECRET_KEY": lambda: secrets.token_urlsafe(SECRET_BYTES),
        "FLOWER_BASIC_AUTH": lambda: f"dev:{secrets.token_urlsafe(PASSWORD_BYTES)}",
    }
    return {name: kept(folder / SECRET_FILES[name], make) for name, make in makers.items() if name not in given}


def _built_in_model(port: str) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}/v1"
    return {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": BUILT_IN_KEY, "DEFAULT_MODEL": BUILT_IN_MODEL}


def prepare(root: Path = ROOT) -> Environment:
    """Read what is set, add what is missing, and make it this process' own environment.

    Raises:
        ConfigurationError: one sentence for each variable that is wrong.
    """
    given = _given(root)
    folder = _data_dir(given, root)
    ports = {name: _port(given, name) for name in ("PORT", "FLOWER_PORT", "REDIS_PORT", "MODEL_PORT")}
    own_model = not (given.get("OPENAI_API_KEY") or given.get("OPENAI_BASE_URL"))
    variables = {
        **DEFAULTS,
        **_secrets(given, folder),
        "REDIS_URL": f"redis://127.0.0.1:{ports['REDIS_PORT']}/0",
        **(_built_in_model(ports["MODEL_PORT"]) if own_model else {}),
        **given,
        **ports,
        "DATA_DIR": str(folder),
        # The programs of the Procfile are those of the Python that runs this, whether or not its environment is activated.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), given.get("PATH", os.defpath))),
    }
    os.environ.update(variables)
    return Environment(variables, load(), own_redis="REDIS_URL" not in given, own_model=own_model)
