"""A user's own settings: the model that answers where a request names none, and the key that providers are called with."""

from sqlalchemy.orm import Session

from api.auth.api_tokens import masked
from shared.config import Settings
from shared.database import Database
from shared.errors import Unauthorized
from shared.models import User
from shared.security.vault import SealBroken, Vault

HIDDEN = "…"
"""What a key is shown as that cannot be read, or is too short to show parts of. No key has this character."""


class UserSettings:
    """The settings of all users. A provider key is sealed before it is stored."""

    def __init__(self, config: Settings, database: Database) -> None:
        """Keep the database, and make the vault that seals keys with SECRET_KEY."""
        self._database = database
        self._vault = Vault(config.secret_key)

    def read(self, user_id: str) -> User:
        """Return a user with their settings.

        Raises:
            Unauthorized: the account is gone.
        """
        with self._database.read() as session:
            return _user(session, user_id)

    def change(self, user_id: str, *, model: str | None = None, provider_key: str | None = None) -> User:
        """Change those settings that are not None; an empty text clears one.

        Raises:
            Unauthorized: the account is gone.
        """
        with self._database.write() as session:
            user = _user(session, user_id)
            if model is not None:
                user.model = model or None
            if provider_key is not None:
                user.provider_key = self._vault.seal(provider_key) if provider_key else None
            return user

    def masked_key(self, user: User) -> str:
        """Return a user's key so that they know it and nobody can use it; empty where there is none."""
        if not user.provider_key:
            return ""
        try:
            return masked(self._vault.open(user.provider_key))
        except SealBroken:  # SECRET_KEY was changed since
            return HIDDEN


def is_masked(key: str) -> bool:
    """Return whether a text is what `masked_key` returns in place of a key."""
    return HIDDEN in key


def _user(session: Session, user_id: str) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise Unauthorized
    return user
