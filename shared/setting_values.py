"""What the values of settings may look like: each function returns the value as it is used, or refuses it with a ValueError."""

from urllib.parse import urlsplit

from limits import parse_many
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from shared.redis import tls

DRIVERS = {("sqlite", "pysqlite"), ("postgresql", "psycopg")}
MIN_KEY_CHARS = 32


def stripped(value: object) -> object:
    """Return a text without the blanks around it: a secret that was read from a file often ends with a new line."""
    return value.strip() if isinstance(value, str) else value


def split(value: str | list[str]) -> list[str]:
    """Return the parts of a list that is written with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def database(url: str) -> str:
    """Return the URL, with psycopg 3 where a hosting provider writes `postgres://` or `postgresql://`; refuse other databases."""
    if not url:
        return url
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            url = "postgresql+psycopg://" + url.removeprefix(prefix)
    try:
        parsed = make_url(url)
        known = _is_known(parsed)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        known = False
    if not known:
        raise ValueError("not a URL of a SQLite file or of PostgreSQL, such as postgresql://user:password@host/name")
    return _with_known_parameters(parsed) if parsed.get_backend_name() == "postgresql" else url


def _is_known(url: URL) -> bool:
    """Return whether it names one of our drivers, and a database that processes share: each has a `:memory:` of its own."""
    is_file = url.database not in {None, "", ":memory:"} and url.query.get("mode") != "memory"
    return (url.get_backend_name(), url.get_driver_name()) in DRIVERS and (is_file or url.get_backend_name() != "sqlite")


def _with_known_parameters(url: URL) -> str:
    """Return the URL without `schema=public`, which Prisma writes and which says nothing; refuse what libpq does not know."""
    if url.query.get("schema") == "public":
        url = url.difference_update_query(["schema"])
    for name, value in url.query.items():
        try:
            make_conninfo(**{name: str(value)})
        except ProgrammingError:
            raise ValueError(f"PostgreSQL knows no parameter {name}") from None
    return url.render_as_string(hide_password=False)


def redis(url: str) -> str:
    """Return the URL of a Redis."""
    if not url.startswith(("redis://", "rediss://")) or not urlsplit(url).hostname:
        raise ValueError("not a URL of Redis, such as redis://127.0.0.1:6379/0")
    tls.broker_tls(url)
    return url


def web(url: str) -> str:
    """Return the URL; refuse one that no HTTP client could call."""
    if (url and not url.startswith(("http://", "https://"))) or (url and not urlsplit(url).hostname):
        raise ValueError("not a URL that begins with http:// or https://")
    return url


def rate(value: str) -> str:
    """Return a rate without quotes, which some readers of .env files leave in; refuse what is not a rate."""
    value = value.strip("\"'")
    try:
        rates = parse_many(value)
    except ValueError:
        rates = []
    if len(rates) != 1 or rates[0].amount < 1:
        raise ValueError("not a rate such as '10 per minute'")
    return value


def header(key: SecretStr) -> SecretStr:
    """Return a key; refuse what no header can hold."""
    if not (key.get_secret_value().isascii() and key.get_secret_value().isprintable()):
        raise ValueError("not a key: it has characters that no header can hold")
    return key


def long_or_none(key: SecretStr) -> SecretStr:
    """Return a key; refuse one that can be guessed."""
    if 0 < len(key.get_secret_value()) < MIN_KEY_CHARS:
        raise ValueError(f"should have at least {MIN_KEY_CHARS} characters")
    return key
