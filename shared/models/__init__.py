"""The tables: one file per aggregate. Imported whole, so that migrations and foreign keys see every one."""

from shared.models.base import Base
from shared.models.conversation import Conversation, Message
from shared.models.job import UNFINISHED, IdempotencyKey, Job, OnInterrupt, Status
from shared.models.user import RefreshToken, User

__all__ = [
    "UNFINISHED",
    "Base",
    "Conversation",
    "IdempotencyKey",
    "Job",
    "Message",
    "OnInterrupt",
    "RefreshToken",
    "Status",
    "User",
]
