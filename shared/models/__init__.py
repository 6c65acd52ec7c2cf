"""The tables: one file per aggregate. Imported whole, so that migrations and foreign keys see every one."""

from shared.models.base import Base
from shared.models.conversation import Conversation, ConversationName, Message
from shared.models.job import ANSWERED, UNFINISHED, IdempotencyKey, Job, Kind, ObjectType, OnInterrupt, Status
from shared.models.setting import Setting
from shared.models.user import ApiToken, RefreshToken, Use, User
from shared.models.webhook import WebhookDelivery, WebhookEndpoint

__all__ = [
    "ANSWERED",
    "UNFINISHED",
    "ApiToken",
    "Base",
    "Conversation",
    "ConversationName",
    "IdempotencyKey",
    "Job",
    "Kind",
    "Message",
    "ObjectType",
    "OnInterrupt",
    "RefreshToken",
    "Setting",
    "Status",
    "Use",
    "User",
    "WebhookDelivery",
    "WebhookEndpoint",
]
