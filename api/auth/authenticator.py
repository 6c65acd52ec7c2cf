"""Whose a token is: an access token, an API token, the admin key or a stream ticket, made into one Principal."""

import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError

from api.auth import accounts, api_tokens
from api.auth.accounts import Accounts
from api.auth.api_tokens import ApiTokens
from api.auth.remembered import Remembered
from shared.config import Settings
from shared.errors import Unauthorized
from shared.models import Use

_USE = "use"
_TICKET = "ticket"
_JOB = "job"

jwt = JWTManager()


@dataclass(frozen=True)
class Principal:
    """Who is calling."""

    user_id: str
    has_admin_key: bool = False


class Authenticator:
    """Recognizes tokens, and makes tickets. Needs an application context, since Flask-JWT-Extended does."""

    def __init__(self, config: Settings, accounts: Accounts, api_tokens: ApiTokens) -> None:
        """Keep the parts."""
        self._admin_key = config.admin_key.get_secret_value()
        self._ticket_life = timedelta(seconds=config.job_deadline_seconds + config.log_ttl_seconds)
        self._accounts = accounts
        self._api_tokens = api_tokens
        self._verified: Remembered[dict[str, Any]] = Remembered()

    def by_token(self, token: str) -> Principal:
        """Return whose token this is: an access token, an API token, or the admin key.

        Raises:
            Unauthorized: it is no token of ours.
        """
        if self.is_admin_key(token):
            return Principal(self._accounts.built_in(accounts.OPERATOR), has_admin_key=True)
        if token.startswith(api_tokens.PREFIX):
            known = self._api_tokens.find(token, Use.API)
            if known is None:
                raise Unauthorized
            return Principal(known.user_id)
        claims = self._claims(token)
        if claims.get(_USE) is not None or claims.get("type") != "access":
            raise Unauthorized("This is not an access token.")
        if not self._accounts.exists(claims["sub"]):
            raise Unauthorized("This account is gone.")
        return Principal(claims["sub"])

    def by_ticket(self, ticket: str, job_id: str | None) -> Principal:
        """Return for whom a ticket reads this job.

        Raises:
            Unauthorized: it is no ticket, or another job's.
        """
        claims = self._claims(ticket, param="ticket")
        if claims.get(_USE) != _TICKET or claims.get(_JOB) != job_id:
            raise Unauthorized("The ticket is not for this.", param="ticket")
        return Principal(claims["sub"])

    def ticket(self, user_id: str, job_id: str) -> str:
        """Make a token that reads one job and nothing else, for clients that cannot send headers.

        It outlives the job and its cache.
        """
        claims = {_USE: _TICKET, _JOB: job_id}
        made: str = create_access_token(user_id, expires_delta=self._ticket_life, additional_claims=claims)
        return made

    def _claims(self, token: str, *, param: str | None = None) -> dict[str, Any]:
        """Return what a token of ours says; its signature is verified once."""
        claims = self._verified.get(token)
        if claims is None:
            claims = _decoded(token, param)
            self._verified.put(token, claims, claims.get("exp", 0) - time.time())
        return claims

    def is_admin_key(self, key: str) -> bool:
        """Return whether this is ADMIN_KEY, in a time that tells nothing; where none is set, no key is it."""
        return hmac.compare_digest(_digest(key), _digest(self._admin_key)) and bool(self._admin_key)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _decoded(token: str, param: str | None) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = decode_token(token)
    except (PyJWTError, JWTExtendedException):
        raise Unauthorized(param=param) from None
    return claims
