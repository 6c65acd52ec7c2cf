"""What is read of a conversation, and how often."""

import pytest

from api.conversations.conversations import Conversations
from shared.messages import tree
from shared.models import Conversation, Message
from tests.integration.counting import counted
from tests.integration.jobs import Jobs


@pytest.fixture
def conversations(jobs: Jobs) -> Conversations:
    return Conversations(jobs.database, lambda *_: None)


@pytest.fixture
def conversation(jobs: Jobs) -> Conversation:
    """A path of 40 messages to an answer that is still to come, and 200 messages beside it."""
    conversation_id = jobs.conversation()
    jobs.queue(conversation=conversation_id)
    job = jobs.row(jobs.queue(conversation=conversation_id))
    with jobs.database.write() as session:
        parent_id = None
        for number in range(39):
            parent_id = tree.append(session, conversation_id, [{"role": "user", "content": str(number)}], parent_id)
            tree.append(session, conversation_id, [{"role": "user", "content": "beside"}] * 5, parent_id)
        session.get_one(Message, job.user_message_id).parent_id = parent_id
        conversation = session.get_one(Conversation, conversation_id)
        conversation.leaf_id = job.answer_id
    return conversation


def test_of_a_path_only_its_own_messages_are_read(jobs: Jobs, conversations: Conversations, conversation: Conversation) -> None:
    with counted(jobs.database) as reads:
        path = conversations.path(conversation)

    assert [message.body["content"] for message in path] == [*map(str, range(39)), "Hello"]
    assert sorted(reads.messages) == sorted(message.id for message in path)
    assert len([statement for statement in reads.statements if "SELECT" in statement]) == 1


def test_a_whole_tree_is_read_once(jobs: Jobs, conversations: Conversations, conversation: Conversation) -> None:
    with counted(jobs.database) as reads:
        messages, current_id = conversations.messages(conversation)

    assert sorted(reads.messages) == sorted(message.id for message in messages)
    assert len(messages) == 39 * 6 + 2
    assert len([statement for statement in reads.statements if "SELECT" in statement]) == 2
    assert current_id == conversations.path(conversation)[-1].id


def test_an_empty_tree_has_no_current_message(jobs: Jobs, conversations: Conversations) -> None:
    with jobs.database.read() as session:
        conversation = session.get_one(Conversation, jobs.conversation())

    assert conversations.messages(conversation) == ([], None)
    assert conversations.path(conversation) == []
