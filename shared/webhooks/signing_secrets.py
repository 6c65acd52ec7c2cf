"""The secrets that sign deliveries, as Standard Webhooks 1.0 writes them: `whsec_` and the key in base64."""

import base64
import secrets

PREFIX = "whsec_"
KEY_BYTES = 32


def new_secret() -> str:
    """Return a new secret, with a random key."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def key(secret: str) -> bytes:
    """Return the key that a secret holds."""
    return base64.b64decode(secret.removeprefix(PREFIX))
