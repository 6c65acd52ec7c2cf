"""What the model is shown."""

from typing import Any

import pytest

from shared.models import Conversation, Message
from tests.integration.jobs import Jobs
from workers import prompting

ENDLESS = 10_000


@pytest.fixture
def jobs(sqlite_jobs: Jobs) -> Jobs:
    return sqlite_jobs


def shown(jobs: Jobs, job_id: str, budget: int = ENDLESS) -> list[dict[str, Any]]:
    with jobs.database.read() as session:
        return prompting.shown(session, jobs.row(job_id), budget)


def talk(jobs: Jobs, *said: str, system: str | None = None) -> str:
    """A conversation of turns, question and answer by turns, and the job that asks the last; tells its id."""
    conversation = jobs.conversation()
    parent = None
    with jobs.database.write() as session:
        session.get_one(Conversation, conversation).system_prompt = system
        for number, text in enumerate(said):
            role = "assistant" if number % 2 else "user"
            body = {"content": text or None}
            session.add(
                Message(id=f"{conversation}_{number}", conversation_id=conversation, parent_id=parent, role=role, body=body)
            )
            parent = f"{conversation}_{number}"
    return jobs.queue(conversation=conversation, user_message_id=parent)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_a_job_that_brings_its_context_is_shown_that(jobs: Jobs) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]

    assert shown(jobs, jobs.queue(request={"messages": messages})) == messages
    assert shown(jobs, jobs.queue(request={"messages": messages, "system": "Be kind."}), 1) == [
        {"role": "system", "content": "Be kind."},
        *messages,
    ]


def test_a_turn_is_shown_what_was_said_before_it(jobs: Jobs) -> None:
    job_id = talk(jobs, "one", "two", "three")
    jobs.conversation()

    assert shown(jobs, job_id) == [user("one"), assistant("two"), user("three")]


@pytest.mark.parametrize(("own", "told"), [(None, "the conversation's"), ("the job's", "the job's")])
def test_the_jobs_own_system_prompt_beats_the_conversations(jobs: Jobs, own: str | None, told: str) -> None:
    job_id = talk(jobs, "one", system="the conversation's")
    jobs.set(job_id, request={"system": own})

    assert shown(jobs, job_id) == [{"role": "system", "content": told}, user("one")]


def test_an_answer_that_says_nothing_is_not_shown(jobs: Jobs) -> None:
    assert shown(jobs, talk(jobs, "one", "", "three")) == [user("one"), user("three")]


def test_only_the_branch_that_leads_to_the_turn_is_shown(jobs: Jobs) -> None:
    job_id = talk(jobs, "one", "two", "three")
    job = jobs.row(job_id)
    with jobs.database.write() as session:
        aside = Message(id="aside", conversation_id=job.conversation_id, role="user", body={"content": "x"})
        aside.parent_id = f"{job.conversation_id}_1"
        session.add(aside)

    assert shown(jobs, job_id) == [user("one"), assistant("two"), user("three")]


@pytest.mark.parametrize(
    ("budget", "texts"),
    [
        (3 * 5, ["aaaa", "bbbb", "cccc"]),
        (3 * 5 - 1, ["bbbb", "cccc"]),
        (5, ["cccc"]),
        (0, ["cccc"]),
    ],
)
def test_of_the_history_the_newest_that_fits_is_shown(jobs: Jobs, budget: int, texts: list[str]) -> None:
    job_id = talk(jobs, "aaaa", "bbbb", "cccc")

    assert [message["content"] for message in shown(jobs, job_id, budget)] == texts


def test_the_system_prompt_counts(jobs: Jobs) -> None:
    job_id = talk(jobs, "aaaa", "bbbb", "cccc", system="ssss")

    assert [message["content"] for message in shown(jobs, job_id, 3 * 5)] == ["ssss", "bbbb", "cccc"]


def test_a_tree_that_bites_its_tail_is_walked_once(jobs: Jobs) -> None:
    job_id = talk(jobs, "one", "two", "three")
    conversation = jobs.row(job_id).conversation_id
    with jobs.database.write() as session:
        session.get_one(Message, f"{conversation}_0").parent_id = f"{conversation}_2"

    assert len(shown(jobs, job_id)) == 3
