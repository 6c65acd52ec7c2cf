"""Where a response belongs: behind another one, in a conversation, or nowhere yet; and the chat messages before it."""

from collections.abc import Iterable

from api.context import context
from api.dialects.openai import ids
from api.dialects.openai.responses.request import ResponseInput
from api.guards import principal
from api.jobs.submission import NEW_CONVERSATION, Place
from shared.errors import InvalidRequest, NotFound
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Conversation, Job, Message, ObjectType


def place(body: ResponseInput) -> tuple[list[JsonObject], Place]:
    """Find where a response belongs.

    Returns:
        the chat messages before it, if the response is to be kept in no conversation; and its place in a conversation.

    Raises:
        InvalidRequest: there is no such response to follow.
        NotFound: there is no such conversation.
    """
    if body.conversation_name is not None:
        return [], Place(_conversation(body.conversation_name).id)
    if body.previous_response_id is None:
        return [], NEW_CONVERSATION
    previous = _previous(body.previous_response_id)
    if body.store is not False:
        return [], Place(previous.conversation_id, previous.answer_id)
    if not previous.status.is_terminal:
        raise InvalidRequest(
            "The previous response is not over yet; wait, or let this one be stored.", param="previous_response_id"
        )
    return _messages_up_to(previous), NEW_CONVERSATION


def messages_before(body: ResponseInput) -> list[JsonObject]:
    """Return the chat messages before a response, wherever it belongs.

    Raises:
        InvalidRequest: there is no such response to follow.
        NotFound: there is no such conversation.
    """
    if body.conversation_name is not None:
        return _chat_messages(context().conversations.path(_conversation(body.conversation_name)))
    return [] if body.previous_response_id is None else _messages_up_to(_previous(body.previous_response_id))


def _conversation(name: str) -> Conversation:
    return context().conversations.get(principal().user_id, name, param="conversation")


def _previous(response_id: str) -> Job:
    try:
        previous = ids.find(ObjectType.RESPONSE, response_id, param="previous_response_id")
    except NotFound:
        previous = None
    if previous is None or previous.conversation_id is None:
        raise InvalidRequest(
            f"Previous response with id '{response_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return previous


def _messages_up_to(previous: Job) -> list[JsonObject]:
    """Return the chat messages up to a response's answer."""
    conversation = context().conversations.get(previous.user_id, previous.conversation_id or "")
    return _chat_messages(context().conversations.path_to(conversation, previous.answer_id))


def _chat_messages(rows: Iterable[Message]) -> list[JsonObject]:
    """Return messages as chat completions write them, without answers that say nothing."""
    return [
        {"role": row.role, **row.body} for row in rows if row.role != "assistant" or row.body.get("tool_calls") or text_of(row.body)
    ]
