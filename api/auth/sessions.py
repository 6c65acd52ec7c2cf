"""A user's own sessions, each the family of refresh tokens of one log-in, and the password that opens them."""

from typing import NamedTuple

import structlog
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session as OrmSession

from api.auth import passwords
from api.http.limits import Limits
from shared.database import Database, now_ms
from shared.errors import Forbidden
from shared.models import RefreshToken, User

log = structlog.get_logger(__name__)


class Session(NamedTuple):
    """A log-in that is still good; `expires_ms` is when its refresh token ends unless it is used before."""

    id: str
    expires_ms: int


class Sessions:
    """The sessions of all users."""

    def __init__(self, database: Database, limits: Limits) -> None:
        """Keep the parts."""
        self._database = database
        self._limits = limits

    def check_password(self, user_id: str, password: str, address: str) -> None:
        """Check that the caller knows the password of their account.

        Raises:
            Forbidden: it is another one, or the account has none.
            RateLimited: too many were tried.
        """
        with self._limits.guess(user_id, address) as guess:
            with self._database.read() as session:
                known = session.scalar(select(User.password_hash).where(User.id == user_id))
            guess.is_right = bool(known) and passwords.matches(known or "", password)
        if not guess.is_right:
            raise Forbidden("This is not the account's password.", param="password", code="invalid_credentials")

    def change_password(self, user_id: str, password: str) -> None:
        """Set another password, and end all sessions: who knew the old one is out when their access token ends."""
        hashed = passwords.hashed(password)
        with self._database.write() as session:
            session.execute(update(User).where(User.id == user_id).values(password_hash=hashed))
            revoke(session, RefreshToken.user_id == user_id)
        log.info("account.password_changed", user=user_id)

    def list(self, user_id: str) -> list[Session]:
        """Return the sessions of a user, the one that ends last first."""
        expires = func.max(RefreshToken.expires_ms)
        good = RefreshToken.user_id == user_id, RefreshToken.revoked_ms.is_(None), RefreshToken.used_ms.is_(None)
        query = select(RefreshToken.family, expires).where(*good, RefreshToken.expires_ms > now_ms())
        with self._database.read() as session:
            rows = session.execute(query.group_by(RefreshToken.family).order_by(expires.desc(), RefreshToken.family))
            return [Session(family, expires_ms) for family, expires_ms in rows]

    def end(self, user_id: str, session_id: str) -> bool:
        """End a session of a user, and return whether there was such a one."""
        with self._database.write() as session:
            ended = revoke(session, RefreshToken.user_id == user_id, RefreshToken.family == session_id)
        if ended:
            log.info("session.ended", user=user_id, session=session_id)
        return ended


def revoke(session: OrmSession, *which: ColumnElement[bool]) -> bool:
    """Revoke refresh tokens, with what a refresh that is under way adds: its lock is waited for before they are looked for.

    Returns:
        whether any of them was good.
    """
    # Oldest first: who waits for an older one holds no newer one, which the first in line may still find with its UPDATE.
    oldest_first = RefreshToken.expires_ms, RefreshToken.id
    session.execute(select(RefreshToken.id).where(*which).order_by(*oldest_first).with_for_update())
    revoked = update(RefreshToken).where(*which, RefreshToken.revoked_ms.is_(None)).values(revoked_ms=now_ms())
    return bool(session.scalars(revoked.returning(RefreshToken.id)).all())
