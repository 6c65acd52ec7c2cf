"""Users, and the tokens they hold."""

from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import MODEL_CHARS, Base, CreatedMs, Id, Milliseconds, PrimaryId, word

USERNAME_CHARS = 64
HASH_CHARS = 64
HINT_CHARS = 16


class User(Base):
    """Somebody who owns jobs.

    `model` and `provider_key` are used for the user's jobs where they are set (the key encrypted, `shared/security/vault.py`);
    `used_tokens` counts all tokens of the user's jobs.
    """

    __tablename__ = "users"

    id: Mapped[PrimaryId]
    username: Mapped[str] = mapped_column(String(USERNAME_CHARS), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)
    model: Mapped[str | None] = mapped_column(String(MODEL_CHARS))
    provider_key: Mapped[str | None] = mapped_column(Text)
    used_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_ms: Mapped[CreatedMs]


class RefreshToken(Base):
    """A refresh token's identity (its `jti`, worthless without our signature). All that descend from one login are a family."""

    __tablename__ = "refresh_tokens"

    id: Mapped[PrimaryId]
    family: Mapped[Id] = mapped_column(index=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_ms: Mapped[Milliseconds] = mapped_column(index=True)
    used_ms: Mapped[Milliseconds | None]
    revoked_ms: Mapped[Milliseconds | None]


class Use(StrEnum):
    """What an API token is good for."""

    API = "api"  # Speaks for its user.
    AGENT = "agent"  # Lets an agent connect, and nothing else.


class ApiToken(Base):
    """A token that does not expire. Of the token itself only a hash is kept, and a hint by which its owner may know it."""

    __tablename__ = "api_tokens"

    id: Mapped[PrimaryId]
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    use: Mapped[Use] = mapped_column(word(Use), default=Use.API)
    name: Mapped[str] = mapped_column(String(USERNAME_CHARS), default="")
    hash: Mapped[str] = mapped_column(String(HASH_CHARS), unique=True)
    hint: Mapped[str] = mapped_column(String(HINT_CHARS))
    created_ms: Mapped[CreatedMs]
