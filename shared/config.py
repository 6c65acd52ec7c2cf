"""Every setting: typed, read once from the environment, checked before anything starts. Nothing else reads the environment."""

import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared import setting_values
from shared.errors import ConfigurationError

IN_FILES = ("secret_key", "database_url", "redis_url", "openai_api_key", "admin_key")
"""Secrets, and URLs that may hold one: `SECRET_KEY_FILE` and so on name a file that has it."""
YEAR = 31_536_000.0
"""In seconds: the longest duration that a setting may have; much longer ones overflow timers."""
RENEWALS_PER_LEASE = 2
"""A lease must last longer than one renewal that fails."""

Rate = Annotated[str, AfterValidator(setting_values.rate)]
Secret = Annotated[SecretStr, BeforeValidator(setting_values.stripped)]
Words = Annotated[list[str], NoDecode, BeforeValidator(setting_values.split)]


class Settings(BaseSettings):
    """The settings of one process; each is the environment variable of the same name in capitals.

    Raises:
        ConfigurationError: from `settings()`, naming each variable that is missing or wrong.
    """

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, allow_inf_nan=False)

    # Where things are
    secret_key: Secret = Field(
        min_length=setting_values.MIN_KEY_CHARS,
        description="Signs tokens, and encrypts stored secrets. No default: at least 32 characters of your own.",
    )
    database_url: Annotated[str, BeforeValidator(setting_values.stripped), AfterValidator(setting_values.database)] = Field(
        "", repr=False, description="The database, as an SQLAlchemy URL; empty: SQLite in DATA_DIR."
    )
    redis_url: Annotated[str, BeforeValidator(setting_values.stripped), AfterValidator(setting_values.redis)] = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,
        description="Redis, for queue, live logs and limits; empty: redis://127.0.0.1:6379/0, and bin/dev starts its own.",
    )
    data_dir: Path = Field(Path(".data"), description="Where SQLite and the embedded Redis keep their files.")
    bind_address: str = Field("0.0.0.0", description="The address the API listens on; empty: 0.0.0.0, under bin/dev 127.0.0.1.")  # noqa: S104 - a container's port is published by hand
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The least that is logged: DEBUG, INFO, WARNING, ERROR."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json, one object a line; console, columns to read; auto: console on a terminal."
    )
    port: int = Field(8000, ge=1, le=65535, description="The API's port.")

    # The model
    openai_api_key: Annotated[Secret, AfterValidator(setting_values.header)] = Field(
        SecretStr(""), description="The provider's key."
    )
    openai_base_url: Annotated[str, BeforeValidator(setting_values.stripped), AfterValidator(setting_values.web)] = Field(
        "", description="The provider's base URL; empty: OpenAI's own."
    )
    default_model: str = Field(
        "gpt-4o-mini", description="The model of jobs that name none; empty: gpt-4o-mini, or the built-in one."
    )
    image_model: str = Field("", description="The model that answers about images in the proxy dialect; empty: DEFAULT_MODEL.")
    unknown_parameters: Literal["forward", "ignore", "refuse"] = Field(
        "forward", description="What of a request for a chat completion we do not know: forward, ignore (and name it) or refuse."
    )
    vision_models: Words = Field(
        ["gpt-4o*", "gpt-4.1*", "gpt-5*", "chatgpt-4o*", "o1*", "o3*", "o4*", "demo*"],
        description="Models that are shown the images of earlier turns, by commas, * for any text; others read [image].",
    )
    moderate: bool = Field(False, description="on: what the provider's moderation flags is refused before the model is asked.")
    moderation_model: str = Field("omni-moderation-latest", description="The provider's moderation model.")
    context_tokens: int = Field(16_000, ge=256, description="How much history a model is shown, in tokens.")

    # Agents
    agent_registration: Literal["token", "open"] = Field(
        "token", description="token: an agent needs an agent token; open: it needs none."
    )
    agent_ping_seconds: float = Field(5, gt=0, description="How long an agent may take to answer a ping.")
    agent_answer_seconds: float = Field(120, gt=0, description="How long an agent may take for an answer.")
    agent_wait_seconds: float = Field(30, ge=0, description="How long a job waits for an idle agent.")

    # Who may do what
    admin_key: Annotated[Secret, AfterValidator(setting_values.long_or_none)] = Field(
        SecretStr(""), description="The operator's API token, which makes and removes users, of 32 characters or more; empty: none."
    )
    anonymous_access: bool = Field(
        False, description="on: clients of the proxy dialect that send no token share one anonymous user."
    )
    webhook_private: bool = Field(False, description="on: webhooks may go to private addresses, and by plain http.")

    registration: Literal["open", "closed"] = Field(
        "open", description="open: anybody may make an account; closed: only administrators, and who has ADMIN_KEY."
    )

    # The web
    cors_origins: Words = Field([], description="Allowed origins, by commas; * for all.")
    trusted_proxies: int = Field(0, ge=0, le=10, description="How many proxies in front set X-Forwarded-*.")
    web_concurrency: int = Field(2, ge=1, le=64, description="API processes that gunicorn starts.")
    web_connections: int = Field(4000, ge=1, description="Open connections per API process.")
    max_body_bytes: int = Field(20 * 1024 * 1024, ge=1024, description="Larger requests are refused with 413.")
    max_message_chars: int = Field(1_000_000, ge=1, description="A longer message is refused.")
    login_limit: Rate = Field("10 per minute", description="Failed logins, per name from an address; ten times that per address.")
    register_limit: Rate = Field("30 per hour", description="Accounts that may be made from one address.")
    submit_limit: Rate = Field("600 per minute", description="Jobs that a user may submit.")
    max_streams: int = Field(2000, ge=1, description="Streams a user may have open, per API process; more are refused with 429.")
    max_queued_jobs: int = Field(1000, ge=1, description="A user's jobs that may wait; more are refused with 429.")
    max_queue: int = Field(10_000, ge=1, description="Jobs of all users that may wait; more are refused with 503.")
    heartbeat_seconds: float = Field(10, gt=0, le=YEAR, description="How often an idle stream gets a comment.")
    access_token_seconds: int = Field(900, ge=1, description="How long an access token is valid.")
    refresh_token_days: int = Field(30, ge=1, description="How long a refresh token is valid.")

    # Work
    worker_concurrency: int = Field(200, ge=1, le=4000, description="Jobs at once per worker process.")
    max_running_jobs: int = Field(200, ge=1, description="A user's jobs that run at once; more wait.")
    lease_seconds: float = Field(8, gt=0, le=YEAR, description="A job whose lease was not renewed for this long is taken over.")
    renew_seconds: float = Field(2, gt=0, le=YEAR, description="How often a worker renews its leases: at least twice a lease.")
    sweep_seconds: float = Field(2, gt=0, le=YEAR, description="How often a worker sweeps up what dead workers left, with jitter.")
    drain_seconds: float = Field(25, ge=0, le=YEAR, description="How long a worker's jobs may run on after SIGTERM.")
    max_tries: int = Field(4, ge=1, description="Provider calls per job before it fails.")
    max_lost_workers: int = Field(5, ge=0, description="Workers a job may lose before it fails.")
    job_deadline_seconds: float = Field(900, gt=0, le=YEAR, description="A job that is not over after this long fails.")
    provider_down_seconds: float = Field(
        60, ge=0, le=YEAR, description="How long a provider that refuses connections, or answers 503, is tried."
    )
    first_token_seconds: float = Field(
        180, gt=0, le=YEAR, description="As STALL_SECONDS, which it is at least, until an answer begins."
    )
    stall_seconds: float = Field(60, gt=0, le=YEAR, description="A provider that is silent for this long is called again.")
    abandoned_seconds: float = Field(
        15, ge=0, le=YEAR, description="How long an answer of OpenAI's foreground API goes on without a reader; 0: to its end."
    )
    log_ttl_seconds: float = Field(3600, gt=0, le=YEAR, description="How long a finished job's log stays in Redis.")
    retention_days: int = Field(90, ge=0, description="Finished jobs, and conversations, older than this are deleted; 0: never.")
    max_log_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="A job whose log grows beyond this ends incomplete.")

    @field_validator("renew_seconds")
    @classmethod
    def _outlived(cls, renew_seconds: float, info: ValidationInfo) -> float:
        lease_seconds = info.data.get("lease_seconds")
        if lease_seconds is not None and lease_seconds < RENEWALS_PER_LEASE * renew_seconds:
            raise ValueError(f"LEASE_SECONDS ({lease_seconds:g}) must be at least {RENEWALS_PER_LEASE} times as long")
        return renew_seconds

    @property
    def database(self) -> str:
        """The SQLAlchemy URL that is used."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'chatrelay.db'}"


def _from_files() -> dict[str, Any]:
    """Return the secrets that are in files: `NAME_FILE` names the file, as container engines and Kubernetes mount them."""
    found = {}
    for name in IN_FILES:
        variable = f"{name.upper()}_FILE"
        path = os.environ.get(variable, "")
        if path and os.environ.get(name.upper()):
            raise ConfigurationError(f"{variable}: {name.upper()} is set, too; set one of them")
        if path:
            try:
                found[name] = Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeError) as error:
                raise ConfigurationError(f"{variable}: {path} cannot be read: {error}") from None
    return found


def load() -> Settings:
    """Return the settings that the environment has.

    Raises:
        ConfigurationError: one sentence for each variable that is missing or wrong.
    """
    try:
        return Settings(**_from_files())
    except ValidationError as error:
        problems = (f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_url=False, include_input=False))
        raise ConfigurationError("; ".join(problems)) from None


def forget_empty_variables(prefix: str) -> None:
    """Take the variables that begin so and are empty out of the environment, for a library that reads them itself."""
    for name in [name for name, value in os.environ.items() if name.startswith(prefix) and not value.strip()]:
        del os.environ[name]


@cache
def settings() -> Settings:
    """The settings of this process, read once. A wrong or missing one ends the process with one line and exit code 2."""
    try:
        return load()
    except ConfigurationError as error:
        sys.stderr.write(f"chatrelay: cannot start: {error}\n")
        raise SystemExit(2) from None
