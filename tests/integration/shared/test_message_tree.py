"""The tree of a conversation's messages: paths, also through damaged trees, and what is read for them."""

from typing import Any

import pytest

from shared.messages import tree
from shared.models import Conversation, Message, Status
from tests.integration.counting import counted
from tests.integration.jobs import Jobs


@pytest.fixture
def conversation(jobs: Jobs) -> str:
    return jobs.conversation()


def append(jobs: Jobs, conversation: str, count: int, parent_id: str | None = None) -> list[str]:
    """Append messages one behind the other, and return their ids."""
    ids = []
    with jobs.database.write() as session:
        for number in range(count):
            turn: list[dict[str, Any]] = [{"role": "user", "content": str(number)}]
            parent_id = tree.append(session, conversation, turn, parent_id)
            assert parent_id is not None
            ids.append(parent_id)
    return ids


def path_up(jobs: Jobs, conversation: str, message_id: str | None, **bounds: int) -> list[str]:
    with jobs.database.read() as session:
        return [row.id for row in tree.path_up(session, conversation, message_id, **bounds)]


def path_ids(jobs: Jobs, conversation: str, message_id: str | None) -> list[str]:
    with jobs.database.read() as session:
        return tree.path_ids(session, conversation, message_id)


def set_parent(jobs: Jobs, message_id: str, parent_id: str | None) -> None:
    with jobs.database.write() as session:
        session.get_one(Message, message_id).parent_id = parent_id


def parents(jobs: Jobs, conversation: str) -> dict[str, str | None]:
    with jobs.database.read() as session:
        return {row.id: row.parent_id for row in session.query(Message).filter_by(conversation_id=conversation)}


def test_a_path_is_read_without_what_is_not_on_it(jobs: Jobs, conversation: str) -> None:
    stem = append(jobs, conversation, 5)
    branch = append(jobs, conversation, 5, stem[-1])
    append(jobs, conversation, 200, stem[2])
    with counted(jobs.database) as reads:
        assert path_up(jobs, conversation, branch[-1]) == [*branch[::-1], *stem[::-1]]

    assert sorted(reads.messages) == sorted(stem + branch)
    assert len([statement for statement in reads.statements if "SELECT" in statement]) == 1


def test_a_path_is_read_in_batches_and_no_further_than_is_taken(jobs: Jobs, conversation: str) -> None:
    ids = append(jobs, conversation, 70)
    with jobs.database.read() as session, counted(jobs.database) as reads:
        path = tree.path_up(session, conversation, ids[-1], batch=30)
        assert [next(path).id for _ in range(31)] == ids[:-32:-1]

    assert len(reads.messages) == 60
    assert path_up(jobs, conversation, ids[-1], batch=30) == ids[::-1]
    assert path_up(jobs, conversation, ids[-1], batch=70) == ids[::-1]


def test_a_path_is_followed_no_further_than_its_limit(jobs: Jobs, conversation: str) -> None:
    ids = append(jobs, conversation, 10)
    assert path_up(jobs, conversation, ids[-1], limit=4) == ids[:-5:-1]


def test_a_path_from_nowhere_is_empty(jobs: Jobs, conversation: str) -> None:
    append(jobs, conversation, 2)
    assert path_up(jobs, conversation, None) == []
    assert path_up(jobs, conversation, "msg_unknown") == []


def test_a_path_stays_in_its_conversation(jobs: Jobs, conversation: str) -> None:
    foreign, own = append(jobs, jobs.conversation(), 2), append(jobs, conversation, 2)
    set_parent(jobs, own[0], foreign[-1])

    assert path_up(jobs, conversation, own[-1]) == own[::-1]
    assert path_up(jobs, conversation, foreign[-1]) == []


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_path_through_a_cycle_ends(jobs: Jobs, conversation: str, at: int) -> None:
    ids = append(jobs, conversation, 5)
    set_parent(jobs, ids[0], ids[at])

    assert path_up(jobs, conversation, ids[-1]) == ids[::-1]


def test_a_path_leads_past_answers_that_have_no_row(jobs: Jobs, conversation: str) -> None:
    first = jobs.row(jobs.queue(conversation=conversation))
    second = jobs.row(jobs.queue(conversation=conversation))
    third = jobs.row(jobs.queue(conversation=conversation))
    assert first.user_message_id
    assert third.user_message_id
    jobs.set(second.id, user_message_id=first.answer_id)  # its own message was removed
    set_parent(jobs, third.user_message_id, second.answer_id)

    assert path_up(jobs, conversation, third.answer_id) == [third.user_message_id, first.user_message_id]
    ids = [third.answer_id, third.user_message_id, second.answer_id, first.answer_id, first.user_message_id]
    assert path_ids(jobs, conversation, third.answer_id) == ids


def test_answers_of_jobs_without_rows_may_form_a_cycle(jobs: Jobs, conversation: str) -> None:
    first = jobs.row(jobs.queue(conversation=conversation))
    second = jobs.row(jobs.queue(conversation=conversation))
    jobs.set(first.id, user_message_id=second.answer_id)
    jobs.set(second.id, user_message_id=first.answer_id)

    assert path_up(jobs, conversation, first.answer_id) == []


def test_a_message_with_a_row_has_the_rows_parent(jobs: Jobs, conversation: str) -> None:
    ids = append(jobs, conversation, 3)
    job = jobs.row(jobs.queue(conversation=conversation))
    jobs.set(job.id, answer_id=ids[2], user_message_id=ids[0])

    assert path_up(jobs, conversation, ids[2]) == ids[::-1]


def test_what_follows_a_removed_message_follows_its_parent(jobs: Jobs, conversation: str) -> None:
    first, second, third = append(jobs, conversation, 3)
    (aside,) = append(jobs, conversation, 1, second)
    with jobs.database.write() as session:
        tree.remove(session, session.get_one(Message, second))

    assert parents(jobs, conversation) == {first: None, third: first, aside: first}


@pytest.mark.parametrize(("at", "leaf"), [(0, 2), (2, 1)])
def test_the_leaf_moves_only_if_it_is_removed(jobs: Jobs, conversation: str, at: int, leaf: int) -> None:
    ids = append(jobs, conversation, 3)
    with jobs.database.write() as session:
        session.get_one(Conversation, conversation).leaf_id = ids[2]
    with jobs.database.write() as session:
        tree.remove(session, session.get_one(Message, ids[at]))
    with jobs.database.read() as session:
        assert session.get_one(Conversation, conversation).leaf_id == ids[leaf]


@pytest.mark.parametrize("status", Status)
def test_what_follows_an_answer_without_a_row(jobs: Jobs, conversation: str, status: Status) -> None:
    (leaf,) = append(jobs, conversation, 1)
    job = jobs.row(jobs.queue(conversation=conversation, status=status))
    assert job.answer_id
    with jobs.database.write() as session:
        row = session.get_one(Conversation, conversation)
        row.leaf_id = leaf
        expected = job.user_message_id if status.is_terminal else job.answer_id
        assert tree.resolve_parent(session, row, job.answer_id) == expected
    jobs.set(job.id, user_message_id="msg_removed")
    with jobs.database.write() as session:
        row = session.get_one(Conversation, conversation)
        row.leaf_id = leaf
        session.flush()
        assert tree.resolve_parent(session, row, job.answer_id) == (leaf if status.is_terminal else job.answer_id)
