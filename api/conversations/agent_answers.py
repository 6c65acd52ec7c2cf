"""What an agent sent with its answers besides their text: the ids by which it, and its callers, know them."""

from sqlalchemy import select

from shared.database import Database
from shared.json_types import JsonObject
from shared.models import Conversation, Job, Message


def find_answer_id(database: Database, conversation: Conversation, response_id: str) -> str | None:
    """Return the id of the message that an agent calls by this id; None where it has none in this conversation."""
    is_called_so = Message.origin["response_id"].as_string() == response_id
    with database.read() as session:
        return session.scalar(select(Message.id).where(Message.conversation_id == conversation.id, is_called_so).limit(1))


def origin(database: Database, job: Job) -> JsonObject:
    """Return what the agent sent with a job's answer besides the text; empty where no agent answered."""
    with database.read() as session:
        message = session.get(Message, job.answer_id) if job.answer_id else None
    origin = (message.origin if message else None) or {}
    return origin if "agent" in origin else {}
