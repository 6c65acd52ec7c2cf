"""The environment of every process of a developer's stack. No other module of dev/ reads its own process' environment."""

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
    "LOG_FORMAT": "console",
}
"""Unlike production: for this machine only, quick to stop, one API process, tokens of a day, output that is not buffered."""

PORTS = {"PORT": Settings.model_fields["port"].default, "FLOWER_PORT": 5555, "REDIS_PORT": 6390, "MODEL_PORT": 8090}
"""All but the first are read here alone: a cluster sets such names for its own services, to something else."""
MAX_PORT = 65_535

SECRET_FILES = {"SECRET_KEY": "secret_key", "FLOWER_BASIC_AUTH": "flower_auth"}
"""The file, in the data folder, that keeps a secret which is not set."""

BUILT_IN_KEY = "built-in"
BUILT_IN_MODEL = "demo"
OWNER_ONLY = 0o600
SECRET_BYTES = 48
PASSWORD_BYTES = 16


@dataclass(frozen=True)
class Environment:
    """The variables of every process, the settings that they make, and whether Redis and the model are ours to start."""

    variables: Mapping[str, str]
    settings: Settings
    own_redis: bool
    own_model: bool

    @property
    def data_dir(self) -> Path:
        """Return the absolute path of the data folder."""
        return Path(self.variables["DATA_DIR"])

    @property
    def ports(self) -> dict[str, int]:
        """Return the ports that must be free, by the name of their setting."""
        unused = {"REDIS_PORT": not self.own_redis, "MODEL_PORT": not self.own_model}
        return {name: int(self.variables[name]) for name in PORTS if not unused.get(name)}


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in this file; make it the first time, readable by its owner only."""
    if path.is_file() and (text := path.read_text(encoding="utf-8").strip()):
        return text
    text = make()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    return text


def _read_set_variables(root: Path) -> dict[str, str]:
    """Return the variables that the developer has set: the environment beats `.env`, and empty means unset."""
    written = dotenv_values(root / ".env", interpolate=False)
    return {name: value for name, value in {**written, **os.environ}.items() if value}


def _data_dir(set_variables: Mapping[str, str], root: Path) -> Path:
    folder = (root / Path(set_variables.get("DATA_DIR", ".data")).expanduser()).resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR: {folder} cannot be used: {error.strerror}") from None
    return folder


def _port(set_variables: Mapping[str, str], name: str) -> str:
    port = set_variables.get(name, str(PORTS[name]))
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= MAX_PORT):
        raise ConfigurationError(f"{name}: not a port between 1 and {MAX_PORT}")
    return port


def _secrets(set_variables: Mapping[str, str], folder: Path) -> dict[str, str]:
    makers: dict[str, Callable[[], str]] = {
        "SECRET_KEY": lambda: secrets.token_urlsafe(SECRET_BYTES),
        "FLOWER_BASIC_AUTH": lambda: f"dev:{secrets.token_urlsafe(PASSWORD_BYTES)}",
    }
    return {name: kept_secret(folder / SECRET_FILES[name], make) for name, make in makers.items() if name not in set_variables}


def _built_in_model(port: str) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}/v1"
    return {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": BUILT_IN_KEY, "DEFAULT_MODEL": BUILT_IN_MODEL}


def prepare(root: Path = ROOT) -> Environment:
    """Read the variables that are set, add those that are missing, and put all into this process' own environment.

    Raises:
        ConfigurationError: one sentence for each variable that is wrong.
    """
    set_variables = _read_set_variables(root)
    folder = _data_dir(set_variables, root)
    ports = {name: _port(set_variables, name) for name in PORTS}
    own_model = not (set_variables.get("OPENAI_API_KEY") or set_variables.get("OPENAI_BASE_URL"))
    variables = {
        **DEFAULTS,
        **_secrets(set_variables, folder),
        "REDIS_URL": f"redis://127.0.0.1:{ports['REDIS_PORT']}/0",
        **(_built_in_model(ports["MODEL_PORT"]) if own_model else {}),
        **set_variables,
        **ports,
        "DATA_DIR": str(folder),
        # The programs of the Procfile are those of the Python that runs this, whether or not its environment is activated.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), set_variables.get("PATH", os.defpath))),
    }
    os.environ.update(variables)
    return Environment(variables, load(), own_redis="REDIS_URL" not in set_variables, own_model=own_model)
