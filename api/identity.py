"""Who is calling: an access token or a stream ticket, made into one Principal. Guards stand before every blueprint."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import g, request
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError

from api.context import context
from shared.errors import Unauthorized

BEARER = "bearer "
_USE = "use"
_TICKET = "ticket"
_JOB = "job"

jwt = JWTManager()


@dataclass(frozen=True)
class Principal:
    """Who is calling."""

    user_id: str


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


def _bearer() -> Principal:
    header = request.headers.get("Authorization", "")
    if not header.lower().startswith(BEARER):
        raise Unauthorized("Send an access token: Authorization: Bearer <token>.")
    claims = _claims(header[len(BEARER) :].strip())
    if claims.get(_USE) is not None or claims.get("type") != "access":
        raise Unauthorized("This is not an access token.")
    return Principal(claims["sub"])


def _claims(token: str, *, param: str | None = None) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = decode_token(token)
    except (PyJWTError, JWTExtendedException):
        raise Unauthorized(param=param) from None
    return claims
