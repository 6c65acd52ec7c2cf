"""Accounts: register, log in, refresh, log out. Refresh tokens rotate; one that is used twice ends its whole family."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from flask_jwt_extended import create_access_token, create_refresh_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.auth import passwords
from api.auth.remembered import Remembered
from api.auth.sessions import revoke
from api.http.limits import Limits
from shared.config import Settings
from shared.database import Database, now_ms
from shared.errors import Conflict, Forbidden, Unauthorized
from shared.ids import new_id
from shared.models import RefreshToken, User
from shared.timestamps import DAY_MS

log = structlog.get_logger(__name__)


# Users without a password: their names hold a blank, so that they cannot be registered, and no password matches.
OPERATOR = ("user_operator", "the operator")
ANONYMOUS = ("user_anonymous", "an anonymous caller")
NO_PASSWORD = ""


@dataclass(frozen=True)
class Tokens:
    """What a login gives; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class Accounts:
    """The accounts of all users."""

    def __init__(self, config: Settings, database: Database, limits: Limits) -> None:
        """Keep the parts."""
        self._config = config
        self._database = database
        self._limits = limits
        self._seen: Remembered[bool] = Remembered()

    def exists(self, user_id: str) -> bool:
        """Return whether there is such an account, or was one within the last second."""
        if self._seen.get(user_id):
            return True
        with self._database.statement() as connection:
            exists = connection.scalar(select(User.id).where(User.id == user_id)) is not None
        if exists:
            self._seen.put(user_id, True)
        return exists

    def forget(self, user_id: str) -> None:
        """Note that an account was deleted."""
        self._seen.forget(user_id)

    def is_admin(self, user_id: str) -> bool:
        """Return whether this account is an administrator's."""
        with self._database.read() as session:
            return bool(session.scalar(select(User.is_admin).where(User.id == user_id)))

    def register(self, username: str, password: str, address: str) -> User:
        """Make an account.

        Raises:
            Conflict: the name is taken.
            Forbidden: REGISTRATION is closed.
            RateLimited: too many were made from this address.
        """
        if self._config.registration == "closed":
            raise Forbidden("Accounts are made by administrators here.", code="registration_closed")
        self._limits.check_registration(address)
        user = User(id=new_id("user"), username=username, password_hash=passwords.hashed(password))
        try:
            with self._database.write() as session:
                session.add(user)
        except IntegrityError:
            raise Conflict("This username is taken.", param="username", code="username_taken") from None
        log.info("account.registered", user=user.id, address=address)
        return user

    def built_in(self, who: tuple[str, str]) -> str:
        """Return the id of `OPERATOR` or `ANONYMOUS`, whose rows are made when they are first needed."""
        user_id, username = who
        with self._database.read() as session:
            if session.get(User, user_id) is not None:
                return user_id
        try:
            with self._database.write() as session:
                session.add(User(id=user_id, username=username, password_hash=NO_PASSWORD))
        except IntegrityError:
            log.info("account.made_by_another_request", user=user_id)
        return user_id

    def login(self, username: str, password: str, address: str) -> Tokens:
        """Open a new family of tokens.

        Raises:
            Unauthorized: no such name, or another password; the two answer alike.
            RateLimited: too many failures of this name or from this address.
        """
        with self._limits.guess(username, address) as guess:
            with self._database.read() as session:
                user = session.scalar(select(User).where(User.username == username))
            known_hash = user.password_hash if user else NO_PASSWORD
            guess.is_right = passwords.matches(known_hash or passwords.NOBODYS_HASH, password) and bool(known_hash)
        if user is None or not guess.is_right:
            log.info("login.refused", user=user.id if user else None, address=address)
            raise Unauthorized("Wrong username or password.", code="invalid_credentials")
        with self._database.write() as session:
            return self._issue(session, user.id, new_id("family"))

    def refresh(self, token: str) -> Tokens:
        """Trade a refresh token for new tokens; it is worthless from then on.

        Raises:
            Unauthorized: it is wrong, expired or revoked; or it was used before, and then its family is revoked.
        """
        jti = _jti(token)
        with self._database.write() as session:
            used = session.scalar(
                update(RefreshToken)
                .where(
                    RefreshToken.id == jti,
                    RefreshToken.used_ms.is_(None),
                    RefreshToken.revoked_ms.is_(None),
                    RefreshToken.expires_ms > now_ms(),
                )
                .values(used_ms=now_ms())
                .returning(RefreshToken)
            )
            if used is not None:
                return self._issue(session, used.user_id, used.family)
            revoke(session, _family_of(jti))
        raise Unauthorized("The refresh token is spent or revoked.", param="refresh_token")

    def logout(self, token: str) -> None:
        """End the family of a refresh token.

        Raises:
            Unauthorized: it is not a refresh token of ours.
        """
        jti = _jti(token)
        with self._database.write() as session:
            revoke(session, _family_of(jti))

    def _issue(self, session: Session, user_id: str, family: str) -> Tokens:
        config = self._config
        jti = new_id("refresh")
        session.add(RefreshToken(id=jti, family=family, user_id=user_id, expires_ms=now_ms() + config.refresh_token_days * DAY_MS))
        life = timedelta(seconds=config.access_token_seconds)
        return Tokens(
            access_token=create_access_token(user_id, expires_delta=life),
            refresh_token=create_refresh_token(
                user_id, expires_delta=timedelta(days=config.refresh_token_days), additional_claims={"jti": jti}
            ),
            expires_in=config.access_token_seconds,
        )


def _family_of(jti: str) -> ColumnElement[bool]:
    family = select(RefreshToken.family).where(RefreshToken.id == jti).scalar_subquery()
    return RefreshToken.family == family


def _jti(token: str) -> str:
    try:
        claims: dict[str, Any] = decode_token(token)
    except (PyJWTError, JWTExtendedException):
        raise Unauthorized("The refresh token is wrong or expired.", param="refresh_token") from None
    if claims.get("type") != "refresh":
        raise Unauthorized("This is not a refresh token.", param="refresh_token")
    return str(claims["jti"])
