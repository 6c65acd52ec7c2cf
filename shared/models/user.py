"""Users, and the refresh tokens they hold."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, CreatedMs, Id, Milliseconds, PrimaryId

USERNAME_CHARS = 64


class User(Base):
    """Somebody who owns jobs."""

    __tablename__ = "users"

    id: Mapped[PrimaryId]
    username: Mapped[str] = mapped_column(String(USERNAME_CHARS), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)
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
