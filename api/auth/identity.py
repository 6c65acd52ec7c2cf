"""Who is calling: an access token, an API token, the admin key or a stream ticket, made into one Principal.

Guards stand before every blueprint.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import g, request
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError

from api.auth import accounts, api_tokens
from api.context import context
from shared.errors import Forbidden, Unauthorized
from shared.models import Use, User

BEARER = "bearer "
_USE = "use"
_TICKET = "ticket"
_JOB = "job"

jwt = JWTManager()


@dataclass(frozen=True)
class Principal:
    """Who is calling."""

    user_id: str
    has_admin_key: bool = False


def guard() -> None:
    """Let nobody in without a token. For `before_request`.

    Raises:
        Unauthorized: no token, or a bad one.
    """
    g.principal = _bearer()


def guard_reader() -> None:
    """Let in who has a token, or a ticket for the very job that the path names. For `before_request`.

    Raises:
        Unauthorized: neither, or a bad one.
    """
    ticket = request.args.get("ticket")
    if ticket is None:
        return guard()
    claims = _claims(ticket, param="ticket")
    if claims.get(_USE) != _TICKET or claims.get(_JOB) != (request.view_args or {}).get("job_id"):
        raise Unauthorized("The ticket is not for this.", param="ticket")
    g.principal = Principal(claims["sub"])
    return None


def principal() -> Principal:
    """Tell who is calling; a guard has seen to it that there is somebody."""
    caller: Principal = g.principal
    return caller


def ticket(user_id: str, job_id: str) -> str:
    """Make a token that reads one job and nothing else; for clients that cannot send headers. It outlives the job and its cache."""
    config = context().config
    life = timedelta(seconds=config.job_deadline_seconds + config.log_ttl_seconds)
    made: str = create_access_token(user_id, expires_delta=life, additional_claims={_USE: _TICKET, _JOB: job_id})
    return made


def authenticate(token: str) -> Principal:
    """Tell whose token this is: an access token, an API token, or the admin key.

    Raises:
        Unauthorized: nobody's.
    """
    if is_admin_key(token):
        return Principal(accounts.built_in(context(), accounts.OPERATOR), has_admin_key=True)
    if token.startswith(api_tokens.PREFIX):
        known = api_tokens.recognised(context(), token, Use.API)
        if known is None:
            raise Unauthorized
        return Principal(known.user_id)
    claims = _claims(token)
    if claims.get(_USE) is not None or claims.get("type") != "access":
        raise Unauthorized("This is not an access token.")
    if not accounts.is_there(context(), claims["sub"]):
        raise Unauthorized("This account is gone.")
    return Principal(claims["sub"])


def is_admin_key(key: str) -> bool:
    """Compare with ADMIN_KEY, in a time that tells nothing; without one set nothing is it."""
    admin_key = context().config.admin_key
    return hmac.compare_digest(_digest(key), _digest(admin_key)) and bool(admin_key)


def credentials() -> str | None:
    """Read the token of the `Authorization` header, with `Bearer` or without it; None where there is no such header."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    return header[len(BEARER) :].strip() if header.lower().startswith(BEARER) else header.strip()


def let_in(caller: Principal) -> None:
    """Take somebody for the caller of this request."""
    g.principal = caller


def require_admin() -> None:
    """Let the caller go on only with the admin key, or as an admin.

    Raises:
        Forbidden: he is neither.
    """
    caller = principal()
    if not caller.has_admin_key:
        with context().database.read() as session:
            user = session.get(User, caller.user_id)
        if user is None or not user.is_admin:
            raise Forbidden("This is for administrators.")


def _bearer() -> Principal:
    header = request.headers.get("Authorization", "")
    if not header.lower().startswith(BEARER):
        raise Unauthorized("Send an access token: Authorization: Bearer <token>.")
    return authenticate(header[len(BEARER) :].strip())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _claims(token: str, *, param: str | None = None) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = decode_token(token)
    except (PyJWTError, JWTExtendedException):
        raise Unauthorized(param=param) from None
    return claims
