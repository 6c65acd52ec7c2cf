"""What the model is shown."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from dev.testing.stack import SECRET_KEY
from shared.agents.requests import AGENT_MODEL
from shared.config import Settings
from shared.messages import tree
from shared.models import Conversation, Message, User
from shared.security.vault import Vault
from tests.integration.counting import counted
from tests.integration.jobs import Jobs
from workers.prompt import builder, messages
from workers.providers.base import AgentPosition, CompletionRequest

ENDLESS = 10_000


def prompt(jobs: Jobs, job_id: str, budget: int = ENDLESS, vision_models: Sequence[str] = ("*",)) -> list[dict[str, Any]]:
    job = jobs.row(job_id)
    with jobs.database.read() as session:
        path = tree.path_up(session, job.conversation_id, job.user_message_id)
        own = session.scalar(select(Conversation.system_prompt).where(Conversation.id == job.conversation_id))
        return messages.prompt(job, path, own, budget, vision_models)


def converse(jobs: Jobs, *texts: str, system: str | None = None) -> str:
    """A conversation of messages, the user's and the assistant's by turns, and the job of the last one; returns the job's id."""
    conversation = jobs.conversation()
    parent = None
    with jobs.database.write() as session:
        session.get_one(Conversation, conversation).system_prompt = system
        for number, text in enumerate(texts):
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

    assert prompt(jobs, jobs.queue(request={"messages": messages})) == messages
    assert prompt(jobs, jobs.queue(request={"messages": messages, "system": "Be kind."}), 1) == [
        {"role": "system", "content": "Be kind."},
        *messages,
    ]


def test_a_turn_is_shown_what_came_before_it(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "three")
    jobs.conversation()

    assert prompt(jobs, job_id) == [user("one"), assistant("two"), user("three")]


@pytest.mark.parametrize(("own", "expected"), [(None, "the conversation's"), ("the job's", "the job's")])
def test_the_jobs_own_system_prompt_beats_the_conversations(jobs: Jobs, own: str | None, expected: str) -> None:
    job_id = converse(jobs, "one", system="the conversation's")
    jobs.set(job_id, request={"system": own})

    assert prompt(jobs, job_id) == [{"role": "system", "content": expected}, user("one")]


def test_an_empty_answer_is_not_shown(jobs: Jobs) -> None:
    assert prompt(jobs, converse(jobs, "one", "", "three")) == [user("one"), user("three")]


def test_only_the_branch_that_leads_to_the_turn_is_shown(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "three")
    job = jobs.row(job_id)
    with jobs.database.write() as session:
        aside = Message(id="aside", conversation_id=job.conversation_id, role="user", body={"content": "x"})
        aside.parent_id = f"{job.conversation_id}_1"
        session.add(aside)

    assert prompt(jobs, job_id) == [user("one"), assistant("two"), user("three")]


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
    job_id = converse(jobs, "aaaa", "bbbb", "cccc")

    assert [message["content"] for message in prompt(jobs, job_id, budget)] == texts


def test_the_system_prompt_counts(jobs: Jobs) -> None:
    job_id = converse(jobs, "aaaa", "bbbb", "cccc", system="ssss")

    assert [message["content"] for message in prompt(jobs, job_id, 3 * 5)] == ["ssss", "bbbb", "cccc"]


def test_the_path_does_not_leave_the_conversation(jobs: Jobs) -> None:
    foreign, job_id = converse(jobs, "foreign"), converse(jobs, "one", "two", "three")
    with jobs.database.write() as session:
        session.get_one(Message, f"{jobs.row(job_id).conversation_id}_0").parent_id = f"{jobs.row(foreign).conversation_id}_0"

    assert prompt(jobs, job_id) == [user("one"), assistant("two"), user("three")]


def test_a_tree_that_has_a_cycle_is_walked_once(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "three")
    conversation = jobs.row(job_id).conversation_id
    with jobs.database.write() as session:
        session.get_one(Message, f"{conversation}_0").parent_id = f"{conversation}_2"

    assert len(prompt(jobs, job_id)) == 3


def test_of_a_long_history_only_what_fits_is_read(jobs: Jobs) -> None:
    job_id = converse(jobs, *["aaaa"] * 301)
    with counted(jobs.database) as reads:
        assert len(prompt(jobs, job_id, 10 * 5)) == 10

    assert len(reads.messages) == tree.BATCH_MESSAGES
    assert len(prompt(jobs, job_id)) == 301


CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}


def set_message(jobs: Jobs, job_id: str, at: int, role: str, **body: Any) -> None:
    """Change a message of a job's conversation."""
    with jobs.database.write() as session:
        message = session.get_one(Message, f"{jobs.row(job_id).conversation_id}_{at}")
        message.role, message.body = role, body


def test_a_call_without_a_result_is_not_shown(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "three", "four", "five")
    set_message(jobs, job_id, 1, "assistant", content=None, tool_calls=[CALL])
    set_message(jobs, job_id, 3, "assistant", content="Let me see.", tool_calls=[CALL])

    assert prompt(jobs, job_id) == [user("one"), user("three"), assistant("Let me see."), user("five")]


def call_with_result(jobs: Jobs) -> str:
    job_id = converse(jobs, "one", "two", "three", "four", "five")
    set_message(jobs, job_id, 1, "assistant", content=None, tool_calls=[CALL])
    set_message(jobs, job_id, 2, "tool", content="2", tool_call_id="call_1")
    return job_id


def test_a_call_is_shown_with_its_result(jobs: Jobs) -> None:
    assert prompt(jobs, call_with_result(jobs)) == [
        user("one"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "2", "tool_call_id": "call_1"},
        assistant("four"),
        user("five"),
    ]


def test_a_tools_result_is_not_shown_without_the_call(jobs: Jobs) -> None:
    assert prompt(jobs, call_with_result(jobs), 3 * 5) == [assistant("four"), user("five")]


def test_a_call_counts(jobs: Jobs) -> None:
    job_id = call_with_result(jobs)
    call = 4 + (len("look_up") + len('{"a": 1}') + 3) // 4

    assert len(prompt(jobs, job_id, 4 * 5 + call)) == 5
    assert len(prompt(jobs, job_id, 4 * 5 + call - 1)) == 4
    assert len(prompt(jobs, job_id, 3 * 5 + call - 1)) == 2


def set_failed(jobs: Jobs, job_id: str, number: int, messages: int = 1) -> None:
    """Make an answer the empty one of a turn, of so many messages, that failed."""
    with jobs.database.write() as session:
        session.get_one(Message, f"{jobs.row(job_id).conversation_id}_{number}").failed_turn = messages


def test_a_turn_that_failed_is_omitted_from_later_prompts(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "refused", "", "five")
    set_failed(jobs, job_id, 3)

    assert prompt(jobs, job_id) == [user("one"), assistant("two"), user("five")]


def test_a_turn_of_several_messages_that_failed_is_omitted_whole(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "first of the turn", "x", "last of the turn", "", "seven")
    set_message(jobs, job_id, 3, "user", content="second of the turn")
    set_failed(jobs, job_id, 5, messages=3)

    assert prompt(jobs, job_id) == [user("one"), assistant("two"), user("seven")]


def test_a_turn_that_failed_in_the_middle_of_a_call_is_omitted_with_it(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "three")
    set_message(jobs, job_id, 1, "assistant", content=None, tool_calls=[CALL])
    set_failed(jobs, job_id, 1)

    assert prompt(jobs, job_id) == [user("three")]


def set_turn(jobs: Jobs, job_id: str, messages: int) -> None:
    """Set how many messages the job's own turn has."""
    jobs.set(job_id, request={"turn_messages": messages})


def test_a_turn_of_several_messages_is_shown_whole_whatever_the_budget(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "three", "x", "five")
    set_message(jobs, job_id, 3, "user", content="four")
    set_turn(jobs, job_id, 3)

    assert prompt(jobs, job_id) == [user("one"), assistant("two"), user("three"), user("four"), user("five")]
    assert prompt(jobs, job_id, 1) == [user("three"), user("four"), user("five")]


def test_a_tools_result_in_a_turn_is_shown_with_its_call_whatever_the_budget(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "three")
    set_message(jobs, job_id, 1, "assistant", content=None, tool_calls=[CALL])
    set_message(jobs, job_id, 2, "tool", content="4", tool_call_id=CALL["id"])

    calling = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    answer = {"role": "tool", "content": "4", "tool_call_id": CALL["id"]}
    assert prompt(jobs, job_id) == [user("one"), calling, answer]
    assert prompt(jobs, job_id, 1) == [calling, answer]


def test_a_tools_result_without_a_call_is_shown_alone(jobs: Jobs) -> None:
    job_id = converse(jobs, "one", "two", "three")
    set_message(jobs, job_id, 2, "tool", content="4", tool_call_id="call_unknown")

    assert prompt(jobs, job_id)[-1]["role"] == "tool"
    assert prompt(jobs, job_id)[:2] == [user("one"), assistant("two")]


LOOK: list[dict[str, Any]] = [
    {"type": "text", "text": "Look:"},
    {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
]


def with_image(jobs: Jobs, at: int) -> str:
    job_id = converse(jobs, "one", "two", "three")
    with jobs.database.write() as session:
        session.get_one(Message, f"{jobs.row(job_id).conversation_id}_{at}").body = {"content": LOOK}
    return job_id


@pytest.mark.parametrize(("patterns", "content"), [(["other", "m*"], LOOK), (["other*"], "Look:\n[image]"), ([], "Look:\n[image]")])
def test_an_earlier_image_is_shown_to_models_that_see(jobs: Jobs, patterns: list[str], content: object) -> None:
    job_id = with_image(jobs, 0)
    jobs.set(job_id, model="m?vision=0")

    assert prompt(jobs, job_id, vision_models=patterns)[0] == {"role": "user", "content": content}


def test_an_image_of_the_turn_itself_is_shown_to_every_model(jobs: Jobs) -> None:
    job_id = with_image(jobs, 2)

    assert prompt(jobs, job_id, 0, ()) == [{"role": "user", "content": LOOK}]


def test_an_image_counts(jobs: Jobs) -> None:
    assert prompt(jobs, with_image(jobs, 0), 700) == [assistant("two"), user("three")]


def request_of(jobs: Jobs, job_id: str, config: Settings) -> CompletionRequest:
    with jobs.database.read() as session:
        return builder.completion_request(session, jobs.row(job_id), config)


@pytest.fixture
def own_key(jobs: Jobs) -> Callable[[str], None]:
    def set_key(sealed: str) -> None:
        with jobs.database.write() as session:
            session.execute(update(User).values(provider_key=sealed))

    return set_key


def test_a_users_own_key_is_used(jobs: Jobs, config: Settings, own_key: Callable[[str], None]) -> None:
    job_id = converse(jobs, "one")
    assert request_of(jobs, job_id, config).api_key is None
    own_key(Vault(config.secret_key).seal("sk-mine"))
    assert request_of(jobs, job_id, config).api_key == "sk-mine"


def sealed(key: str) -> str:
    return Vault(SecretStr(SECRET_KEY)).seal(key)


UNUSABLE = {
    "rubbish": "rubbish",
    "another's": Vault(SecretStr("another secret key")).seal("sk-mine"),
    "no header": sealed("sk-mine\nx-evil: 1"),
    "no ASCII": sealed("sk-mïne"),
    "blank": sealed(" "),
}


@pytest.mark.parametrize("provider_key", UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_that_cannot_be_used_is_a_refusal(
    jobs: Jobs, config: Settings, own_key: Callable[[str], None], provider_key: str
) -> None:
    job_id = converse(jobs, "one")
    own_key(provider_key)
    request = request_of(jobs, job_id, config)

    assert request.refusal is not None
    assert (request.refusal.reason, request.refusal.retryable) == ("provider_key_unreadable", False)
    assert request.api_key is None


@pytest.mark.parametrize("provider_key", ["rubbish", sealed("sk-mine")], ids=["unreadable", "readable"])
def test_an_agent_needs_no_key(jobs: Jobs, config: Settings, own_key: Callable[[str], None], provider_key: str) -> None:
    job_id = converse(jobs, "one")
    jobs.set(job_id, model=AGENT_MODEL)
    own_key(provider_key)
    request = request_of(jobs, job_id, config)

    assert (request.api_key, request.refusal) == (None, None)


ORIGIN = {"agent": "a", "conversation_id": "c"}


def set_origin(jobs: Jobs, job_id: str, at: int) -> None:
    with jobs.database.write() as session:
        session.get_one(Message, f"{jobs.row(job_id).conversation_id}_{at}").origin = ORIGIN


def test_a_turn_after_an_agents_answer_knows_where_the_agent_goes_on(jobs: Jobs, config: Settings) -> None:
    job_id = converse(jobs, "one", "two", "three")
    jobs.set(job_id, model=AGENT_MODEL)
    assert request_of(jobs, job_id, config).position == AgentPosition()
    set_origin(jobs, job_id, 1)
    jobs.set(job_id, request={"agent": {"message_id": "m", "parent_id": "p"}})

    assert request_of(jobs, job_id, config).position == AgentPosition(ORIGIN, "m", "p")


def test_an_agents_position_is_looked_for_in_batches(jobs: Jobs, config: Settings) -> None:
    job_id = converse(jobs, "one", "two", *["", ""] * 50, "last")
    jobs.set(job_id, model=AGENT_MODEL)
    set_origin(jobs, job_id, 1)
    with counted(jobs.database) as reads:
        assert request_of(jobs, job_id, config).position == AgentPosition(ORIGIN)

    assert len(reads.messages) == 103
    assert len([statement for statement in reads.statements if "messages" in statement]) == -(-103 // tree.BATCH_MESSAGES)


def test_only_for_an_agent_is_its_position_looked_for(jobs: Jobs, config: Settings) -> None:
    job_id = converse(jobs, *["x" * 4_000] * 100)
    set_origin(jobs, job_id, 1)
    with counted(jobs.database) as reads:
        assert request_of(jobs, job_id, config).position == AgentPosition()

    assert len(reads.messages) == tree.BATCH_MESSAGES
