"""Tokens as the API makes them, or nearly so."""

import time
from typing import Any

import jwt

from dev.testing.stack import SECRET_KEY

LIFE_SECONDS = 600


def access_token(user_id: str, *, key: str = SECRET_KEY, algorithm: str | None = "HS256", **claims: Any) -> str:
    """Sign an access token; a claim that is None is left out."""
    now = int(time.time())
    usual = {"sub": user_id, "type": "access", "fresh": False, "jti": "1", "iat": now, "nbf": now, "exp": now + LIFE_SECONDS}
    return jwt.encode({name: value for name, value in {**usual, **claims}.items() if value is not None}, key, algorithm)


def ticket(user_id: str, job_id: str, *, key: str = SECRET_KEY, **claims: Any) -> str:
    """Sign a stream ticket."""
    return access_token(user_id, key=key, **{"use": "ticket", "job": job_id, **claims})
