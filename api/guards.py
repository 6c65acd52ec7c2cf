"""Guards stand before every blueprint, and find out who is calling: the principal of the current request."""

from flask import g, request

from api.auth.authenticator import Principal
from api.context import context
from shared.errors import Forbidden, Unauthorized

BEARER = "bearer "


def require_user() -> None:
    """Set the principal by the request's bearer token. For `before_request`.

    Raises:
        Unauthorized: no token, or a bad one.
    """
    header = request.headers.get("Authorization", "")
    if not header.lower().startswith(BEARER):
        raise Unauthorized("Send an access token: Authorization: Bearer <token>.")
    set_principal(context().authenticator.by_token(header[len(BEARER) :].strip()))


def require_reader() -> None:
    """Set the principal by a token, or by a ticket for the very job that the path names. For `before_request`.

    Raises:
        Unauthorized: neither, or a bad one.
    """
    ticket = request.args.get("ticket")
    if ticket is None:
        return require_user()
    set_principal(context().authenticator.by_ticket(ticket, (request.view_args or {}).get("job_id")))
    return None


def require_admin() -> None:
    """Let the caller go on only with the admin key, or as an administrator.

    Raises:
        Forbidden: they are neither.
    """
    caller = principal()
    if not caller.has_admin_key and not context().accounts.is_admin(caller.user_id):
        raise Forbidden("This is for administrators.")


def principal() -> Principal:
    """Return who is calling; a guard has set it."""
    caller: Principal = g.principal
    return caller


def set_principal(caller: Principal) -> None:
    """Set who is calling, for the rest of this request."""
    g.principal = caller


def credentials() -> str | None:
    """Return the token of the `Authorization` header, with `Bearer` or without it; None where there is no such header."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    return header[len(BEARER) :].strip() if header.lower().startswith(BEARER) else header.strip()
