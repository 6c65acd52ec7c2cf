"""Messages and jobs that are removed before their answer is there: the rest of the conversation stays whole."""

from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.conversations import rows
from api.conversations.conversations import Conversations
from api.jobs import jobs as job_service
from shared.config import Settings
from shared.ids import new_id
from shared.jobs import ending
from shared.jobs.ending import Ending
from shared.messages import tree
from shared.models import Conversation, Job, Message, Status
from shared.pubsub import policy
from tests.integration.entries import begun
from tests.integration.jobs import Jobs
from tests.integration.readers import ReadingProcess, reading


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for a worker that is dead."""
    monkeypatch.setattr(policy, "READ_SECONDS", 0.05)
    monkeypatch.setattr(job_service, "DELETE_WAIT_SECONDS", 0.2)


@pytest.fixture
def process(config: Settings, jobs: Jobs) -> Iterator[ReadingProcess]:
    with reading(config, jobs.database) as made:
        yield made


def add(jobs: Jobs, conversation_id: str, role: str, text: str, parent_id: str | None) -> str:
    message = Message(id=new_id("msg"), conversation_id=conversation_id, role=role, body={"content": text}, parent_id=parent_id)
    with jobs.database.write() as session:
        session.add(message)
    return message.id


@pytest.fixture
def conversation_id(jobs: Jobs) -> str:
    """A conversation with one turn that is over."""
    created_id = jobs.conversation()
    add(jobs, created_id, "assistant", "Hello Ann.", add(jobs, created_id, "user", "I am Ann.", None))
    return created_id


@pytest.fixture
def job(jobs: Jobs, conversation_id: str) -> Job:
    """A second turn, whose worker is dead but still believed to live."""
    with jobs.database.read() as session:
        answer = next(row for row in session.query(Message).filter_by(conversation_id=conversation_id) if row.role == "assistant")
    jobs.queue(conversation=conversation_id)
    claimed = jobs.claim()
    assert claimed is not None
    with jobs.database.write() as session:
        session.get_one(Message, claimed.user_message_id).parent_id = answer.id
        session.get_one(Conversation, conversation_id).leaf_id = claimed.answer_id
    return claimed


def texts(process: ReadingProcess, jobs: Jobs, conversation_id: str) -> list[str]:
    with jobs.database.read() as session:
        conversation = session.get_one(Conversation, conversation_id)
    return [message.body["content"] for message in Conversations(jobs.database, process.jobs.stop).path(conversation)]


def test_a_message_is_removed_whose_answer_does_not_end_in_time(
    process: ReadingProcess, jobs: Jobs, conversation_id: str, job: Job
) -> None:
    assert texts(process, jobs, conversation_id) == ["I am Ann.", "Hello Ann.", "Hello"]
    with jobs.database.read() as session:
        conversation = session.get_one(Conversation, conversation_id)
    assert job.user_message_id
    assert Conversations(jobs.database, process.jobs.stop).remove_message(conversation, job.user_message_id)
    assert texts(process, jobs, conversation_id) == ["I am Ann.", "Hello Ann."]
    with jobs.database.write() as session:
        assert ending.end_held(session, job.id, job.attempt, begun(1), Ending(Status.COMPLETED, "stop"), [])
    assert texts(process, jobs, conversation_id)[:2] == ["I am Ann.", "Hello Ann."]


def test_a_job_is_removed_that_does_not_end_in_time(process: ReadingProcess, jobs: Jobs, conversation_id: str, job: Job) -> None:
    following = add(jobs, conversation_id, "user", "And now?", job.answer_id)
    with jobs.database.write() as session:
        session.get_one(Conversation, conversation_id).leaf_id = following
    process.jobs.remove(job.user_id, job.id)
    assert texts(process, jobs, conversation_id) == ["I am Ann.", "Hello Ann.", "Hello", "And now?"]


def ended(jobs: Jobs, job: Job) -> None:
    with jobs.database.write() as session:
        ending.end_held(session, job.id, job.attempt, begun(1), Ending(Status.COMPLETED, "stop"), [])


def test_an_answer_is_written_while_its_conversation_is_read(
    process: ReadingProcess, jobs: Jobs, conversation_id: str, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = tree.path_ids

    def read_too_early(*args: Any, **options: Any) -> list[str]:
        ids = read(*args, **options)
        ended(jobs, job)
        return ids

    monkeypatch.setattr(tree, "path_ids", read_too_early)
    assert texts(process, jobs, conversation_id)[:3] == ["I am Ann.", "Hello Ann.", "Hello"]


def test_an_answer_is_written_while_its_successor_is_stored(
    jobs: Jobs, conversation_id: str, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = tree._has_row

    def look_too_early(*args: Any) -> bool:
        has_row = look(*args)
        if not has_row:
            ended(jobs, job)
        return has_row

    monkeypatch.setattr(tree, "_has_row", look_too_early)
    assert job.answer_id
    with jobs.database.read() as session:
        assert tree.resolve_parent(session, session.get_one(Conversation, conversation_id), job.answer_id) == job.answer_id


def test_a_message_is_removed_twice_at_once(process: ReadingProcess, jobs: Jobs, conversation_id: str, job: Job) -> None:
    with jobs.database.read() as session:
        conversation = session.get_one(Conversation, conversation_id)
    assert job.user_message_id
    message_id = job.user_message_id

    def stop_and_be_overtaken(user_id: str, job_id: str) -> object:
        assert Conversations(jobs.database, process.jobs.stop).remove_message(conversation, message_id)
        return process.jobs.stop(user_id, job_id)

    assert Conversations(jobs.database, stop_and_be_overtaken).remove_message(conversation, message_id)
    assert texts(process, jobs, conversation_id) == ["I am Ann.", "Hello Ann."]


def test_a_turn_is_accepted_while_the_job_before_it_is_removed(
    process: ReadingProcess, jobs: Jobs, conversation_id: str, job: Job
) -> None:
    with ThreadPoolExecutor(1) as threads:
        with jobs.database.write() as session:
            conversation = rows.lock(session, conversation_id)
            turn: list[dict[str, Any]] = [{"role": "user", "content": "And now?"}]
            conversation.leaf_id = tree.append(session, conversation.id, turn, conversation.leaf_id)
            session.flush()
            removal = threads.submit(process.jobs.remove, job.user_id, job.id)
            futures.wait([removal], 1)  # it gives up waiting for the job, and comes to the conversation
        removal.result(30)
    assert texts(process, jobs, conversation_id) == ["I am Ann.", "Hello Ann.", "Hello", "And now?"]
