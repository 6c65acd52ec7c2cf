"""The rows of a turn: its messages, after their parent, and the conversation that they begin or go on."""

from dataclasses import replace

from sqlalchemy.orm import Session

from api.conversations import rows
from api.jobs.saving import NewJob
from api.jobs.submission import Submission
from shared.errors import NotFound
from shared.ids import new_id
from shared.json_types import JsonObject
from shared.messages import tree
from shared.models import Conversation


def taken(session: Session | None, new: NewJob, user_id: str, submission: Submission) -> NewJob:
    """Add a turn to a job: after its parent, else after the conversation's leaf; the answer to come is the new leaf.

    Args:
        session: an open transaction; None where the place names no conversation.
        new: the job so far.
        user_id: whose it is.
        submission: its turn and its place.

    Raises:
        NotFound: no such conversation, or another user's; or no such parent in it.
        InvalidRequest: no conversation can have this name.
    """
    place = submission.place
    known = _next_position(session, user_id, place.conversation_id) if session and place.conversation_id else None
    if known is not None and session is not None:
        parent_id = known.leaf_id if place.parent_id is None else tree.resolve_parent(session, known, place.parent_id)
        return replace(_with_messages(new, submission, known.id, parent_id, known.last_position), leaf_of=known.id)
    if place.conversation_id is not None and not place.may_create:
        raise NotFound("There is no such conversation.", param="conversation_id")
    if place.parent_id is not None:
        raise NotFound("There is no such message in this conversation.", param="parent_id")
    conversation_id = new_id("conv")
    new = _with_messages(new, submission, conversation_id, None, 1)
    system = place.initial_prompt or (submission.system if submission.stores_system else None)
    conversation = rows.values(conversation_id, user_id, system=system, title=place.title)
    conversation |= {"leaf_id": new.job["answer_id"], "last_position": 1}
    name = place.conversation_id and rows.name_values(conversation_id, user_id, place.conversation_id)
    return replace(new, conversation=conversation, name=name or None)


def _next_position(session: Session, user_id: str, name: str) -> Conversation | None:
    """Find a conversation, lock it, and take its next position; None where there is none."""
    found = rows.find(session, user_id, name)
    return found and rows.lock(session, found.id, last_position=Conversation.last_position + 1)


def _with_messages(new: NewJob, submission: Submission, conversation_id: str, parent_id: str | None, position: int) -> NewJob:
    messages: list[JsonObject] = []
    for message in submission.turn:
        messages.append(tree.values(message, conversation_id, parent_id))
        parent_id = messages[-1]["id"]
    turn = {"conversation_id": conversation_id, "position": position, "user_message_id": parent_id, "answer_id": new_id("msg")}
    return replace(new, job={**new.job, **turn}, messages=messages)
