"""Secrets that must be read again, encrypted at rest under a key that follows from SECRET_KEY.

They are users' own provider keys, and the secrets that sign webhooks.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from shared.errors import ChatrelayError
from shared.models.error_codes import JobErrorCode

KEY_BYTES = 32
_PURPOSE = b"chatrelay: provider keys"
"""What the key is derived for. The words stay as they are, though webhook secrets came later: other words give another key."""


class SealBroken(ChatrelayError):
    """A stored secret cannot be read: it was sealed under another SECRET_KEY, or damaged."""

    code = JobErrorCode.PROVIDER_KEY_UNREADABLE


class Vault:
    """Seals secrets and opens them again; which kind of secret it is makes no difference."""

    def __init__(self, secret_key: SecretStr) -> None:
        """Derive the key (HKDF, RFC 5869), so that signing and sealing share no key."""
        derivation = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_PURPOSE)
        derived = derivation.derive(secret_key.get_secret_value().encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, secret: str) -> str:
        """Encrypt a secret; twice the same gives two different texts."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt what `seal` gave.

        Raises:
            SealBroken: it was not sealed under this key.
        """
        try:
            return self._fernet.decrypt(sealed).decode()
        except (InvalidToken, UnicodeError):
            raise SealBroken from None
