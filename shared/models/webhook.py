"""Webhooks: the addresses that users want notified of the ends of their responses, and the deliveries to them."""

from sqlalchemy import JSON, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import WORD_CHARS, Base, CreatedMs, Id, Milliseconds, PrimaryId

NAME_CHARS = 255
HINT_CHARS = 16
_WAITING = text("due_ms IS NOT NULL")


class WebhookEndpoint(Base):
    """An address that is notified. The secrets that sign are sealed; a former one signs too for a while."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[PrimaryId]
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    url: Mapped[str] = mapped_column(Text)
    event_types: Mapped[list[str]] = mapped_column(JSON)
    secret: Mapped[str] = mapped_column(Text)
    secret_hint: Mapped[str] = mapped_column(String(HINT_CHARS))
    former_secret: Mapped[str | None] = mapped_column(Text)
    former_until_ms: Mapped[Milliseconds | None]
    enabled: Mapped[bool] = mapped_column(default=True)
    created_ms: Mapped[CreatedMs]
    updated_ms: Mapped[CreatedMs]


class WebhookDelivery(Base):
    """One event for one endpoint. `due_ms` is when it is tried (again): None once it was delivered, or given up.

    A worker that tries it moves `due_ms` ahead first: a doorbell that comes twice tries once, and a try whose worker died is made
    again. The response is named and no foreign key: deliveries outlive it.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[PrimaryId]
    endpoint_id: Mapped[Id] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    response_id: Mapped[Id]
    event_type: Mapped[str] = mapped_column(String(WORD_CHARS))
    tries: Mapped[int] = mapped_column(default=0)
    due_ms: Mapped[Milliseconds | None]
    rung_ms: Mapped[Milliseconds | None]
    delivered_ms: Mapped[Milliseconds | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    created_ms: Mapped[CreatedMs] = mapped_column(index=True)

    __table_args__ = (
        Index("ix_webhook_deliveries_due_ms", "due_ms", postgresql_where=_WAITING, sqlite_where=_WAITING),
        Index("ix_webhook_deliveries_endpoint_id_created_ms", "endpoint_id", "created_ms", "id"),
    )
