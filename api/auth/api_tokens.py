"""API tokens: made, listed, revoked, found. The token itself is shown once; what is kept is its hash, and a hint."""

import hashlib
import secrets
from collections.abc import Sequence

from sqlalchemy import delete, select

from api.auth.remembered import Remembered
from shared.database import Database
from shared.ids import new_id
from shared.models import ApiToken, Use

PREFIX = "cr_"
"""What API tokens begin with, and access tokens do not."""
RANDOM_BYTES = 32
SHOWN_FIRST_CHARS = 7
SHOWN_LAST_CHARS = 4


class ApiTokens:
    """The API tokens of all users."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database
        self._found: Remembered[ApiToken] = Remembered()

    def create(self, user_id: str, *, use: Use = Use.API, name: str = "") -> tuple[ApiToken, str]:
        """Make a token for a user.

        Returns:
            its row, and the token, which is shown this once.
        """
        token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        row = ApiToken(id=new_id("token"), user_id=user_id, use=use, name=name, hash=_hash(token), hint=_hint(token))
        with self._database.write() as session:
            session.add(row)
        return row, token

    def list(self, *, use: Use, user_id: str | None = None) -> Sequence[ApiToken]:
        """Return the tokens of one use, oldest first: a user's, or everybody's."""
        query = select(ApiToken).where(ApiToken.use == use).order_by(ApiToken.created_ms, ApiToken.id)
        if user_id is not None:
            query = query.where(ApiToken.user_id == user_id)
        with self._database.read() as session:
            return session.scalars(query).all()

    def revoke(self, token_id: str, *, use: Use, user_id: str | None = None) -> bool:
        """Revoke a token, and return whether there was such a token (of that user, if one is named)."""
        statement = delete(ApiToken).where(ApiToken.id == token_id, ApiToken.use == use)
        if user_id is not None:
            statement = statement.where(ApiToken.user_id == user_id)
        with self._database.write() as session:
            was_there = session.scalar(statement.returning(ApiToken.id)) is not None
        self._found.clear()
        return was_there

    def find(self, token: str, use: Use) -> ApiToken | None:
        """Return the row of a token; None for one that is unknown, for another use, or was revoked more than a second ago."""
        hashed = _hash(token)
        found = self._found.get((hashed, use))
        if found is None:
            with self._database.read() as session:
                found = session.scalar(select(ApiToken).where(ApiToken.hash == hashed, ApiToken.use == use))
            if found is not None:
                self._found.put((hashed, use), found)
        return found

    def forget_all(self) -> None:
        """Note that an account was deleted, and its tokens with it."""
        self._found.clear()


def masked(token: str) -> str:
    """Return what of a secret may be shown: its user knows it by that, and it is of no use to others."""
    return _hint(token) if len(token) > 2 * (SHOWN_FIRST_CHARS + SHOWN_LAST_CHARS) else "…"


def _hint(token: str) -> str:
    return f"{token[:SHOWN_FIRST_CHARS]}…{token[-SHOWN_LAST_CHARS:]}"


def _hash(token: str) -> str:
    """A plain hash is enough: 256 random bits cannot be guessed."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
